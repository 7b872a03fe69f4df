//! The Secret with the password of the managed Redis: created, never read.

use data_encoding::HEXLOWER;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::PostParams;
use wsc_core::plan::Plan;
use wsc_core::resources;

use super::applied::Applied;
use super::target::{Target, creating};
use crate::error::Error;
use crate::state::State;

/// Bytes of randomness in the password.
const PASSWORD_BYTES: usize = 24;

/// Whether the Secret that was to be checked exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Existence {
    Exists,
    Lost,
}

/// Creates or checks the Secret as planned; false where it is to be created and could not be.
pub(super) async fn step(target: &Target<'_>, plan: &Plan, state: &mut State, applied: &mut Applied) -> bool {
    let mut is_created = true;
    if let Some(name) = &plan.create_redis_secret {
        let result = create(target, name).await;
        is_created = result.is_ok();
        applied.object(state, "Secret", name, None, result);
    }
    if plan.check_redis_secret {
        let secret = resources::redis_secret(target.cluster, "");
        let result = find(target, &secret).await;
        if matches!(result, Ok(Existence::Lost)) {
            state.memory.redis_secret_lost();
        }
        applied.object(state, "Secret", &secret.name_any(), None, result.map(drop));
    }
    is_created
}

/// A conflict is success: an earlier reconcile created it.
async fn create(target: &Target<'_>, name: &str) -> Result<(), Error> {
    let bytes: [u8; PASSWORD_BYTES] = rand::random();
    let mut secret = resources::redis_secret(target.cluster, &HEXLOWER.encode(&bytes));
    secret.metadata.name = Some(name.to_owned());
    let api = target.context.api.objects::<Secret>(&target.key.namespace);
    let params = creating();
    let create = api.create(&params, &secret);
    match target.context.api.write("create", "Secret", name, create).await {
        Err(error) if error.is_conflict() => Ok(()),
        result => result.map(|_| ()),
    }
}

/// Checks it by a creation without effect: the operator has no permission to read it.
async fn find(target: &Target<'_>, secret: &Secret) -> Result<Existence, Error> {
    let api = target.context.api.objects::<Secret>(&target.key.namespace);
    let params = PostParams {
        dry_run: true,
        ..creating()
    };
    let create = api.create(&params, secret);
    match target.context.api.read("check the Redis Secret", create).await {
        Err(error) if error.is_conflict() => Ok(Existence::Exists),
        result => result.map(|_| Existence::Lost),
    }
}

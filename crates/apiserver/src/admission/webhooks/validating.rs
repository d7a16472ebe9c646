//! Hooks that may only refuse. All are asked at once.

use futures::future::join_all;
use timonier_meta::ApiError;
use timonier_object::Value;
use timonier_policy::webhooks::hooks;

use crate::admission::policies;

use super::ask::{About, Question, configurations, rows};

/// Asks the admission policies, which come before the hooks, and then every hook that wants to be
/// asked; the first refusal, in the order of configurations, counts.
pub async fn validate(
    about: &About<'_>,
    old: Option<&Value>,
    object: Option<&Value>,
) -> Result<(), ApiError> {
    policies::validate(about, old, object).await?;
    let configurations = configurations(about.call, "validatingwebhookconfigurations");
    if configurations.is_empty() {
        return Ok(());
    }
    let question = Question {
        about,
        object: object.unwrap_or(&Value::Null),
        old: old.unwrap_or(&Value::Null),
    };
    let rows = rows(about.call);
    let asked = configurations.iter().flat_map(|c| hooks(c)).map(|hook| question.ask(hook, &rows));
    for answer in join_all(asked).await {
        if let Some((answer, _)) = answer?
            && let Some(refusal) = answer.refusal
        {
            return Err(refusal);
        }
    }
    Ok(())
}

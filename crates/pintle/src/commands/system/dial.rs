//! `system dial-stdio`: what `ssh://` endpoints run on the far side.

use tokio::io::{AsyncWriteExt, copy, stdin, stdout};

use crate::client::dial;
use crate::commands::Done;
use crate::context::Context;

/// Runs it: until the engine closes.
pub async fn run(context: &Context) -> Done {
    let stream = dial(context.client().await?.endpoint()).await?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let sending = async {
        copy(&mut stdin(), &mut writer).await?;
        writer.shutdown().await?;
        std::future::pending::<std::io::Result<()>>().await
    };
    let mut out = stdout();
    let receiving = async {
        copy(&mut reader, &mut out).await?;
        out.flush().await
    };
    tokio::select! {
        result = sending => result?,
        result = receiving => result?,
    }
    Ok(())
}

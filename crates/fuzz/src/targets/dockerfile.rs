//! Dockerfiles.

use timonier_oci::fuzz;

use crate::{Target, texts};

pub const TARGET: Target = Target {
    name: "dockerfile",
    run,
    seeds: || {
        texts(&[
            "# syntax=x\n# escape=`\nARG V=1\nFROM scratch AS a\nCOPY --from=b --chown=1:2 --chmod=755 [\"a b\", \"/c\"]\nRUN --mount=type=cache,target=/x --network=none echo a && \\\n  # note\n  echo b\n",
            "FROM --platform=linux/amd64 x:${V:-1}\nRUN <<EOF\necho a\nEOF\nRUN <<-'A' <<B cat\n\tx\nA\ny\nB\nENV A=b C=\"d e\" F='g'\nENV k v w\nLABEL a.b=c\nEXPOSE 80/tcp 90-91/udp\n",
            "FROM a\nHEALTHCHECK --interval=5s --retries=3 CMD [\"x\"]\nONBUILD ADD https://x/y /\nSHELL [\"sh\", \"-c\"]\nSTOPSIGNAL SIGTERM\nUSER 1:2\nWORKDIR /a/$B\nVOLUME [\"/v\"]\nENTRYPOINT exec x\nCMD [\"a\"]\nMAINTAINER m\n",
        ])
    },
    words: &[
        "FROM ",
        "RUN ",
        "COPY ",
        "ADD ",
        "ENV ",
        "ARG ",
        "<<EOF\n",
        "\nEOF\n",
        "<<-",
        "\\\n",
        "`\n",
        "# escape=`\n",
        "[\"",
        "\"]",
        "--mount=",
        "--from=",
        "${",
        "}",
        ":-",
        ":+",
        "$",
        "\r\n",
        "\u{feff}",
        " AS ",
        "HEALTHCHECK NONE\n",
        "ONBUILD ",
    ],
};

fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Err(error) = fuzz::dockerfile(text) {
        assert!(!error.to_string().is_empty());
    }
}

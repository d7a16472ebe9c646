use super::command::Health;
use super::*;

fn commands(text: &str) -> Vec<Command> {
    parse(text, "Dockerfile").unwrap().instructions.into_iter().map(|i| i.command).collect()
}

fn fault(text: &str) -> String {
    parse(text, "Dockerfile").expect_err(text).to_string()
}

#[test]
fn continuations_comments_and_directives() {
    let file = "# escape=`\n\n# c\nFROM a`\n  # inner\n\n  AS b\r\nrun echo x ` \n  y\n";
    let got = parse(file, "f").unwrap();
    assert_eq!(got.escape, '`');
    let lines: Vec<usize> = got.instructions.iter().map(|i| i.line).collect();
    assert_eq!(lines, [4, 8]);
    assert_eq!(got.instructions[1].text, "run echo x   y");
    let Command::From { image, name, .. } = &got.instructions[0].command else { panic!() };
    assert_eq!((image.as_str(), name.as_deref()), ("a", Some("b")));
    assert_eq!(commands("FROM a\nRUN echo \\\\\nRUN b").len(), 3);
}

#[test]
fn every_instruction() {
    let all = commands(
        "ARG V=1 W\nFROM --platform=linux/amd64 b:$V AS x\nENV A=1 B=\"2 3\"\nENV C 4 5\nLABEL k=v\n\
         WORKDIR /w dir\nUSER u\nEXPOSE 80 90/udp\nVOLUME [\"/a b\"]\nVOLUME /c /d\nENTRYPOINT [\"e\"]\n\
         CMD c d\nSHELL [\"s\",\"-c\"]\nSTOPSIGNAL 9\nONBUILD RUN z\nMAINTAINER m n\n\
         HEALTHCHECK --interval=1m30s --retries=3 CMD curl x\nHEALTHCHECK NONE\n\
         COPY --from=x --chown=a:b --chmod=755 --link s1 s2 d/\nADD [\"a b\", \"c\"]\n\
         RUN --mount=type=cache,target=/c --network=none [\"a\"]\n",
    );
    assert_eq!(all.len(), 21);
    assert_eq!(all[0], Command::Arg(vec![("V".into(), Some("1".into())), ("W".into(), None)]));
    assert_eq!(all[3], Command::Env(vec![("C".into(), "4 5".into())]));
    assert_eq!(all[5], Command::Workdir("/w dir".into()));
    let Command::Healthcheck(Health::Check { check, command }) = &all[16] else { panic!() };
    assert_eq!((check.interval, check.retries), (90_000_000_000, 3));
    assert_eq!(*command, Form::Shell("curl x".into()));
    let Command::Copy(copy) = &all[18] else { panic!() };
    assert_eq!(
        (copy.sources.len(), copy.dest.as_str(), copy.from.as_deref()),
        (2, "d/", Some("x"))
    );
    let Command::Copy(add) = &all[19] else { panic!() };
    assert!(add.add && add.sources == ["a b"]);
    let Command::Run(run) = &all[20] else { panic!() };
    assert_eq!((run.mounts.len(), run.network.as_deref()), (1, Some("none")));
}

#[test]
fn heredocs() {
    let all = commands(
        "FROM a\nRUN <<EOF\n# not a comment\n  x \\\nEOF\nCOPY <<\"A\" <<-B /d/\n$x\nA\n\tin\n\tB\n\
         RUN cat <<X > /f && y\nl\nX\nRUN echo a <<<b\nRUN echo $((1<<2))\n",
    );
    let Command::Run(run) = &all[1] else { panic!() };
    assert_eq!(run.heredocs[0].content, "# not a comment\n  x \\\n");
    let Command::Copy(copy) = &all[2] else { panic!() };
    assert_eq!((copy.heredocs[0].expand, copy.heredocs[0].content.as_str()), (false, "$x\n"));
    assert_eq!((copy.heredocs[1].name.as_str(), copy.heredocs[1].content.as_str()), ("B", "in\n"));
    let Command::Run(run) = &all[3] else { panic!() };
    assert_eq!(run.heredocs.len(), 1);
    let Command::Run(run) = &all[4] else { panic!() };
    assert!(run.heredocs.is_empty());
}

#[test]
fn faults_name_line_and_reason() {
    for (text, message) in [
        ("FROM a\n\nRUNN x", "Dockerfile:3: unknown instruction: RUNN (did you mean RUN?)"),
        ("FROM a\nxyzzyabc x", "Dockerfile:2: unknown instruction: xyzzyabc"),
        ("", "Dockerfile:1: file with no instructions"),
        ("FROM", "Dockerfile:1: FROM requires at least one argument"),
        ("FROM a b", "Dockerfile:1: FROM requires either one or three arguments"),
        ("FROM a OF b", "Dockerfile:1: second argument to FROM must be AS"),
        (
            "FROM a\nCOPY x",
            "Dockerfile:2: COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        ("FROM a\nENV x", "Dockerfile:2: ENV must have two arguments"),
        (
            "FROM a\nENV a=b c",
            "Dockerfile:2: Syntax error - can't find = in \"c\". Must be of the form: name=value",
        ),
        ("FROM a\nRUN <<E\nx", "Dockerfile:2: unterminated heredoc: no line \"E\" follows"),
        ("FROM a\nSHELL x", "Dockerfile:2: SHELL requires the arguments to be in JSON form"),
        ("FROM a\nCOPY --frm=b c d", "Dockerfile:2: unknown flag: --frm (COPY does not know it)"),
        ("FROM a\nONBUILD FROM b", "Dockerfile:2: FROM isn't allowed as an ONBUILD trigger"),
        ("FROM a\nHEALTHCHECK X y", "Dockerfile:2: Unknown type \"X\" in HEALTHCHECK (try CMD)"),
        ("# escape=x\nFROM a", "Dockerfile:1: invalid ESCAPE 'x'. Must be ` or \\"),
        ("FROM a\nUSER a b", "Dockerfile:2: USER requires exactly one argument"),
    ] {
        assert_eq!(fault(text), message);
    }
}

/// Mutations of a rich file: anything but a panic or a hang.
#[test]
fn garbage_never_panics() {
    let good = "# escape=\\\nARG A=${B:-c}\nFROM x:${A} AS y\nRUN <<'E' cat\nz\nE\nENV A=\"b c\" D='e'\n\
        COPY --chown=1:2 [\"a\",\"b\"]\nHEALTHCHECK --interval=5s CMD x\nONBUILD ADD é /\n";
    let mut seed = 5u64;
    for _ in 0..5000 {
        let mut text: Vec<char> = good.chars().collect();
        for _ in 0..4 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let at = (seed >> 33) as usize % text.len();
            let c = "\\\"'$<{}[]=\n -#é\0`"[..].chars().nth((seed >> 20) as usize % 17).unwrap();
            match seed >> 62 {
                0 => text[at] = c,
                1 => text.insert(at, c),
                2 => text.truncate(at.max(8)),
                _ => drop(text.remove(at)),
            }
        }
        let text: String = text.into_iter().collect();
        if let Ok(file) = parse(&text, "f") {
            let lookup = |name: &str| Some(format!("<{name}>"));
            for i in file.instructions {
                let _ = expand(&i.text, file.escape, &lookup);
                let _ = expand_words(&i.text, file.escape, &lookup);
            }
        }
    }
}

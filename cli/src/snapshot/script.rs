//! What an interpreter runs, out of its command line: one interpreter is as many
//! programs as there are scripts for it.
//!
//! What names code tells programs apart: the script, module or class, and, of a
//! script that serves whatever application it is given, that application.
//! Options, numbers of ports and workers do not: the same program is started
//! with others tomorrow, and what it taught holds on.

/// How one interpreter reads its words.
struct Interpreter {
    /// The beginning of its name
    name: &'static str,
    /// Options whose value is the next word and names no code
    valued: &'static [&'static str],
    /// Options whose value, the next word or the rest of this one, is the code;
    /// nothing after it is the interpreter's
    code: &'static [&'static str],
    /// Its own verbs, before the script: `deno run x.ts`
    verbs: &'static [&'static str],
}

const fn plain(name: &'static str, code: &'static [&'static str]) -> Interpreter {
    Interpreter {
        name,
        valued: &[],
        code,
        verbs: &[],
    }
}

/// Programs that run others' files, by their names without a version.
const INTERPRETERS: [Interpreter; 12] = [
    Interpreter {
        valued: &["-X", "-W", "-Q", "--check-hash-based-pycs"],
        ..plain("python", &["-m", "-c"])
    },
    Interpreter {
        valued: &[
            "-r",
            "--require",
            "--import",
            "--loader",
            "--experimental-loader",
            "-C",
            "--conditions",
            "--title",
            "--icu-data-dir",
            "--input-type",
            "--stack-trace-limit",
        ],
        ..plain("node", &["-e", "--eval", "-p", "--print", "-pe"])
    },
    Interpreter {
        valued: &["-I"],
        ..plain("perl", &["-e", "-E"])
    },
    Interpreter {
        valued: &["-I", "-r", "-C", "-E"],
        ..plain("ruby", &["-e"])
    },
    Interpreter {
        valued: &[
            "-cp",
            "-classpath",
            "--class-path",
            "-p",
            "--module-path",
            "--upgrade-module-path",
            "--add-modules",
            "--add-opens",
            "--add-exports",
            "--add-reads",
            "--patch-module",
            "--enable-native-access",
        ],
        ..plain("java", &["-jar", "-m", "--module"])
    },
    Interpreter {
        valued: &["-d", "-c", "-S", "-t", "-z"],
        ..plain("php", &["-f", "-r", "-F", "-R"])
    },
    Interpreter {
        valued: &["-o", "+o", "-O", "+O", "--rcfile", "--init-file"],
        ..plain("bash", &["-c"])
    },
    Interpreter {
        valued: &["-o", "+o"],
        ..plain("dash", &["-c"])
    },
    Interpreter {
        valued: &["-o", "+o"],
        ..plain("zsh", &["-c"])
    },
    Interpreter {
        valued: &["-l"],
        ..plain("lua", &["-e"])
    },
    Interpreter {
        valued: &["-c", "--config", "--import-map", "-L", "--log-level"],
        verbs: &["run", "serve", "test", "bench"],
        ..plain("deno", &["eval"])
    },
    Interpreter {
        valued: &["-r", "--preload", "-c", "--config", "--cwd"],
        verbs: &["run", "test", "x"],
        ..plain("bun", &["-e", "--eval"])
    },
];

/// Options of launchers that name an application: of gunicorn, flask, celery,
/// django and their kin.
const APPLICATIONS: [&str; 6] = [
    "-A",
    "--app",
    "--application",
    "--wsgi",
    "--asgi",
    "--settings",
];
/// Endings of files that are code.
const CODE_FILES: [&str; 16] = [
    ".py", ".pyc", ".pyz", ".js", ".mjs", ".cjs", ".ts", ".mts", ".rb", ".ru", ".pl", ".psgi",
    ".php", ".lua", ".jar", ".war",
];

/// The words that tell what an interpreter runs; none for what is no
/// interpreter. `words` is its command line without its own name.
#[must_use]
pub fn of<'a>(name: &str, words: &'a [String]) -> Option<Vec<&'a str>> {
    let is = |one: &&Interpreter| one.is_called(name);
    let interpreter = INTERPRETERS.iter().find(is)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (mut told, rest) = interpreter.script(&words);
    told.extend(applications(rest));
    Some(told)
}

impl Interpreter {
    /// `python3.11`, `php-cgi8.2`, `nodejs`: not `node_exporter`, nor `dashboard`.
    fn is_called(&self, name: &str) -> bool {
        let Some(rest) = name.strip_prefix(self.name) else {
            return false;
        };
        let variants = ["js", "jit", "-cgi", "-fpm", "w"];
        let variant = variants.iter().find_map(|one| rest.strip_prefix(one));
        let version = variant.unwrap_or(rest);
        let version = version.strip_suffix("-dbg").unwrap_or(version);
        version
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b".-_tdmu".contains(&byte))
    }

    /// What it runs, and the words for that.
    fn script<'a, 'b>(&self, mut words: &'b [&'a str]) -> (Vec<&'a str>, &'b [&'a str]) {
        while let [word, rest @ ..] = words {
            words = rest;
            if self.code.contains(word) {
                let value = rest.first().into_iter().copied();
                return (value.collect(), rest.get(1..).unwrap_or_default());
            }
            if let Some(value) = self.attached(word) {
                return (vec![value], rest);
            }
            if self.valued.contains(word) {
                words = rest.get(1..).unwrap_or_default();
            } else if !is_option(word) && !self.verbs.contains(word) {
                return (vec![*word], rest);
            }
        }
        (Vec::new(), words)
    }

    /// `-mhttp.server`, `--module=app/Main`: the code behind its option.
    fn attached<'a>(&self, word: &'a str) -> Option<&'a str> {
        let long = |option: &str| word.strip_prefix(option)?.strip_prefix('=');
        let short = |option: &str| {
            let is_letter = option.len() == 2 && self.name == "python";
            word.strip_prefix(option)
                .filter(|rest| is_letter && !rest.is_empty())
        };
        self.code
            .iter()
            .find_map(|option| long(option).or_else(|| short(option)))
    }
}

fn is_option(word: &str) -> bool {
    word.starts_with(['-', '+'])
}

/// Of the words for a script those that name code: `app:create()`, files, the
/// values of options for it, and a verb that comes before all but these.
fn applications<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let (mut told, mut before, mut may_be_verb) = (Vec::new(), "", true);
    for word in words {
        let (option, value) = word.split_once('=').unwrap_or((before, word));
        let is_named = APPLICATIONS.contains(&option) && !is_option(value);
        let is_code = !is_option(word) && (is_attribute(word) || is_code_file(word));
        let is_first = may_be_verb && is_verb(word);
        if is_named || is_code || is_first {
            told.push(value);
        }
        may_be_verb &= is_named || APPLICATIONS.contains(word);
        before = word;
    }
    told
}

/// `runserver`, `worker`: letters first, and nothing of a path or an address.
fn is_verb(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_alphabetic())
        && word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// `module.name:attribute`, perhaps called.
fn is_attribute(word: &str) -> bool {
    let Some((module, attribute)) = word.split_once(':') else {
        return false;
    };
    let is_name = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))
    };
    is_name(module) && is_name(attribute.split('(').next().unwrap_or_default())
}

fn is_code_file(word: &str) -> bool {
    CODE_FILES.iter().any(|ending| word.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> Vec<String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let told = of(&words[0], &words[1..]).expect("an interpreter");
        told.into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn the_script_is_behind_the_interpreters_options() {
        for (line, script) in [
            ("python3.11 app.py", "app.py"),
            ("python3 -u -X dev -W ignore app.py --port 80", "app.py"),
            ("python3 -Im http.server", "http.server"),
            ("python3 -m http.server 8000", "http.server"),
            ("python3 -mhttp.server 8000", "http.server"),
            ("node --inspect server.js", "server.js"),
            (
                "node --inspect=0.0.0.0:9229 -r dotenv/config --max-old-space-size=99 server.js",
                "server.js",
            ),
            ("nodejs server.js", "server.js"),
            (
                "java -Xmx1g -cp a.jar:b.jar --add-opens java.base/x=ALL-UNNAMED org.shop.Main --port 1",
                "org.shop.Main",
            ),
            ("java -Xms1g -jar shop.jar", "shop.jar"),
            ("java -p mods -m shop/org.shop.Main", "shop/org.shop.Main"),
            ("java --module=shop/org.shop.Main", "shop/org.shop.Main"),
            ("perl -w -I lib worker.pl", "worker.pl"),
            ("ruby -I lib -r bundler/setup worker.rb", "worker.rb"),
            ("php -d memory_limit=1G -f cron.php", "cron.php"),
            ("bash -eu -o pipefail run.sh", "run.sh"),
            ("deno run --allow-net serve.ts", "serve.ts"),
            ("bun run serve.ts", "serve.ts"),
        ] {
            assert_eq!(told(line), [script], "{line}");
        }
        assert!(told("python3").is_empty() && told("bash -l").is_empty());
        assert_eq!(of("nginx", &["-g".to_owned(), "x.py".to_owned()]), None);
    }

    #[test]
    fn what_is_only_called_alike_is_no_interpreter() {
        let words = ["x.py".to_owned()];
        for name in [
            "dashboard",
            "bundler",
            "node_exporter",
            "javascriptd",
            "phpmyadmin",
            "luarocks",
        ] {
            assert_eq!(of(name, &words), None, "{name}");
        }
        for name in [
            "python",
            "python3",
            "python3.11",
            "python3.13t",
            "python3-dbg",
            "nodejs",
            "node18",
            "bash",
            "dash",
            "luajit",
            "lua5.4",
            "php8.2",
            "php-fpm8.2",
            "perl5.36.0",
            "ruby3.1",
            "bun",
            "java",
            "zsh-5.9",
        ] {
            assert_eq!(of(name, &words).unwrap(), ["x.py"], "{name}");
        }
    }

    #[test]
    fn code_in_the_command_line_is_a_program_of_its_own() {
        let of = |code: &str| {
            of("bash", &["-c".to_owned(), code.to_owned()])
                .unwrap()
                .concat()
        };
        assert_ne!(of("while :; do a; done"), of("while :; do b; done"));
    }

    #[test]
    fn launchers_are_as_many_programs_as_they_have_applications() {
        for (line, all) in [
            (
                "python3 /usr/bin/gunicorn -w 4 -b 0.0.0.0:8000 shop:app",
                &["/usr/bin/gunicorn", "shop:app"][..],
            ),
            (
                "python3 -m uvicorn shop.web:make_app() --factory --port 80",
                &["uvicorn", "shop.web:make_app()"],
            ),
            (
                "python3 /usr/bin/celery -A shop worker -c 4",
                &["/usr/bin/celery", "shop", "worker"],
            ),
            (
                "python3 -m celery --app=shop beat",
                &["celery", "shop", "beat"],
            ),
            (
                "python3 -m flask --app hello run --port 80",
                &["flask", "hello", "run"],
            ),
            (
                "python3 manage.py runserver localhost:8000",
                &["manage.py", "runserver"],
            ),
            ("python3 manage.py migrate", &["manage.py", "migrate"]),
            (
                "node /usr/bin/pm2-runtime start -i 4 server.js",
                &["/usr/bin/pm2-runtime", "start", "server.js"],
            ),
            (
                "ruby /usr/bin/puma -t 5:5 -p 3000 config.ru",
                &["/usr/bin/puma", "config.ru"],
            ),
            (
                "java -jar runner.jar shop.war --port=80",
                &["runner.jar", "shop.war"],
            ),
        ] {
            assert_eq!(told(line), all, "{line}");
        }
    }

    #[test]
    fn ports_and_workers_make_no_other_program() {
        for (one, other) in [
            (
                "python3 app.py --port 8001",
                "python3 -u app.py --port 8002 --debug",
            ),
            (
                "python3 /usr/bin/gunicorn shop:app",
                "python3 /usr/bin/gunicorn -w 8 --bind unix:/run/x shop:app",
            ),
            (
                "java -Xmx1g -jar shop.jar",
                "java -Xmx2g -XX:+UseZGC -jar shop.jar",
            ),
            ("node server.js 8001", "node --inspect server.js 8002"),
        ] {
            assert_eq!(told(one), told(other));
        }
    }
}

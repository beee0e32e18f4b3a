//! Variables from the environment and from `--env-file`: typed, listed by `check`, and hidden if they are
//! secret.

use crate::run::{Place, Ran};

const SUITE: &str = "vars:
  rate: {type: rate, default: 50/s}
  clients: {env: CASE_CLIENTS, default: 4}
  token: {env: CASE_TOKEN, default: none needed}
  region: {env: CASE_REGION, secret: false, default: eu}
  plain: [1, two]
flows: {shop: {embedded: {protocols: [http]}}}
scenarios:
  - name: search
    request:
      path: /post
      json: {data: [{text: \"${{ vars.region }}\"}]}
      headers: {authorization: \"Bearer ${{ vars.token }}\"}
    load: {clients: \"${{ vars.clients }}\", requests: 8}
    on_done: [{log: \"${{ vars.token }} in ${{ vars.region }}\"}]
";

fn ran(place: &Place, arguments: &[&str], env: &[(&str, &str)]) -> Ran {
    let mut command = place.any(arguments);
    command.envs(env.iter().copied());
    Ran::new(command.output().expect("it was built"))
}

#[test]
fn check_lists_each_with_its_type_its_value_and_where_that_is_from() {
    let place = Place::new(SUITE);
    std::fs::write(place.path("a.env"), "CASE_TOKEN='very secret'\nexport CASE_REGION=us # why\n")
        .expect("there is room");
    std::fs::write(place.path("b.env"), "CASE_REGION=asia\n").expect("there is room");
    let listed = ran(&place, &["check", "suite.yaml"], &[("CASE_CLIENTS", "8")]);
    assert_eq!(
        listed.ends(0).out,
        "suite.yaml: 1 scenario on 1 flow
  rate     rate     50/s       from its default
  clients  integer  8          from the environment (CASE_CLIENTS)
  token    text     ***        from its default
  region   text     eu         from its default
  plain    list     [1,\"two\"]  from the suite
"
    );
    let arguments =
        ["check", "suite.yaml", "--env-file", "a.env", "--env-file", "b.env", "--set", "rate=5/s"];
    let listed = ran(&place, &arguments, &[("CASE_CLIENTS", "8")]);
    assert_eq!(
        listed.ends(0).out,
        "suite.yaml: 1 scenario on 1 flow
  rate     rate     5/s        from --set
  clients  integer  8          from the environment (CASE_CLIENTS)
  token    text     ***        from a.env (CASE_TOKEN)
  region   text     asia       from b.env (CASE_REGION)
  plain    list     [1,\"two\"]  from the suite
"
    );
    // The environment itself takes precedence.
    let listed = ran(&place, &arguments, &[("CASE_REGION", "here")]);
    assert!(listed.out.contains("here       from the environment (CASE_REGION)"), "{}", listed.out);
}

#[test]
fn a_run_uses_them_and_shows_no_secret() {
    let place = Place::new(SUITE);
    std::fs::write(
        place.path(".env"),
        "CASE_TOKEN=\"very secret\"\nCASE_REGION=us\nCASE_CLIENTS=2\n",
    )
    .expect("there is room");
    let ran = ran(&place, &["run", "suite.yaml", "--env-file", ".env", "--out", "out"], &[]);
    let said = format!("{}{}", ran.ends(0).out, ran.err);
    assert!(said.contains("*** in us") && !said.contains("very secret"), "{said}");
    let report = std::fs::read_to_string(place.path("out/report.json")).expect("a report");
    assert!(!report.contains("very secret"));
    let resolved =
        self::ran(&place, &["check", "--resolved", "--env-file", ".env", "suite.yaml"], &[]);
    assert!(!resolved.ends(0).out.contains("very secret"), "{}", resolved.out);
    assert!(resolved.out.contains("env.CASE_TOKEN"), "{}", resolved.out);
}

#[test]
fn a_command_has_what_the_file_says() {
    let place = Place::new(
        "flows: {f: {command: [sh, -c, 'echo \"got $CASE_WORD\"; sleep 60'], port: 1, ready: {log: got right}}}
scenarios: [{name: s, load: {clients: 1, requests: 1}, thresholds: [error_rate <= 100%]}]
",
    );
    std::fs::write(place.path(".env"), "CASE_WORD=right\n").expect("there is room");
    let ran = ran(&place, &["run", "suite.yaml", "--env-file", ".env", "--out", "out"], &[]);
    assert!(!ran.out.contains("was not ready"), "{}", ran.out);
    let log = std::fs::read_to_string(place.path("out/flow-f.log")).expect("its output");
    assert!(log.starts_with("got right"), "{log}");
}

#[test]
fn what_is_wrong_is_told_at_its_place() {
    let refused = |vars: &str, arguments: &[&str], env: &[(&str, &str)]| {
        let place = Place::new(&format!(
            "vars:\n  a: {vars}\nscenarios: [{{name: 's${{{{ vars.a }}}}'}}]\n"
        ));
        std::fs::write(place.path("bad.env"), "A=1\nthe secret\n").expect("there is room");
        let mut all = vec!["check", "suite.yaml"];
        all.extend(arguments);
        let ran = ran(&place, &all, env);
        ran.ends(2);
        ran.err
    };
    let env = [("CASE_A", "eight")];
    let told = refused("{env: CASE_A, type: integer}", &[], &env);
    let wanted = "error: variable `a` requires a whole number, found `eight` from the \
                  environment (CASE_A)\n --> suite.yaml:2:6";
    assert!(told.starts_with(wanted), "{told}");
    let told = refused("{env: CASE_A, type: integer, secret: true}", &[], &env);
    assert!(told.contains("found `***` from") && !told.contains("eight"), "{told}");
    let told = refused("{env: CASE_NONE}", &[], &[]);
    assert!(
        told.contains("variable `a` has no value: environment variable `CASE_NONE` is not set"),
        "{told}"
    );
    assert!(told.contains("`--set a=…`"), "{told}");
    let told = refused("{env: CASE_A, type: interger}", &[], &env);
    assert!(told.contains("`interger` is not a type of variable"), "{told}");
    assert!(told.contains("did you mean `integer`?"), "{told}");
    let told = refused("{type: rate, default: 5}", &[], &[]);
    assert!(told.contains("requires a rate such as `50/s`, found `5` from its default"), "{told}");
    let told = refused("{type: rate, default: 5/s}", &["--set", "a=7"], &[]);
    assert!(told.contains("found `7` from --set"), "{told}");
    let told = refused("1", &["--env-file", "bad.env"], &[]);
    assert_eq!(told, "error: --env-file: expected `NAME=VALUE`\n --> bad.env:2\n");
    let told = refused("1", &["--env-file", "none.env"], &[]);
    assert!(told.starts_with("error: --env-file: could not read `none.env`"), "{told}");
}

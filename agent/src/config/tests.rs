use super::*;

/// The faults of a text, one line each.
fn check(text: &str, expected: &[&str]) {
    let faults = match Config::parse(text) {
        Ok(_) => Vec::new(),
        Err(Faults(faults)) => faults.iter().map(Fault::to_string).collect(),
    };
    assert_eq!(faults, expected, "{text}");
}

const HEAD: &str = "[agent]\nid = \"box-1\"\nsite = \"HAM\"\n[broker]\nhost = \"localhost\"\n";

#[test]
fn the_manual_is_a_configuration_and_its_defaults_are_the_codes() {
    let config = Config::parse(DEFAULT).unwrap();
    // With every default written out the same comes out.
    let out = DEFAULT.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => key,
        _ => line,
    });
    let out: Vec<&str> = out.collect();
    assert!(out.len() > 60 && out.iter().filter(|line| line.contains(" = ")).count() > 25);
    let mut written = Config::parse(&out.join("\n")).unwrap();
    assert!(written.stations[0].scale.take().is_some_and(|scale| scale.protocol.name() == "mt-sics"));
    assert_eq!(written, config);
}

#[test]
fn every_key_stands_in_the_manual() {
    // An unknown key makes each section name those it knows.
    let sections = [
        ("", "xx = 1\n"),
        ("agent", "[agent]\nxx = 1\n"),
        ("journal", "[journal]\nxx = 1\n"),
        ("broker", "[broker]\nxx = 1\n"),
        ("clock", "[clock]\nxx = 1\n"),
        ("local", "[local]\nxx = 1\n"),
        ("log", "[log]\nxx = 1\n"),
        ("station", "[[station]]\nxx = 1\n"),
        ("station.scanner", "[[station]]\n[station.scanner]\nxx = 1\n"),
        ("station.scale", "[[station]]\n[station.scale]\nxx = 1\n"),
    ];
    for (section, text) in sections {
        let Faults(faults) = Config::parse(text).unwrap_err();
        let known =
            faults.iter().find_map(|fault| fault.what.strip_prefix("is not known; known here: ")).unwrap();
        for key in known.split(", ") {
            let (key_line, table) = (format!("{key} = "), format!("[{key}]"));
            let found = DEFAULT.lines().any(|line| {
                let line = line.trim_start_matches('#');
                line.starts_with(&key_line) || line.contains(&table) || line.contains(&format!(".{key}]"))
            });
            assert!(found, "{section}: {key} is not in the manual");
        }
    }
}

#[test]
fn variable_measure_is_named_by_its_country() {
    let parse = |country: &str| {
        Config::parse(&HEAD.replace("[broker]", &format!("variable_measure = \"{country}\"\n[broker]")))
    };
    let read = |country| parse(country).unwrap().variable_measure.map(|rules| rules.country);
    assert_eq!((read(""), read("fi")), (None, Some("fi")));
    let Faults(faults) = parse("Finland").unwrap_err();
    assert!(faults[0].to_string().contains("there are de, dk, ee, fi"), "{}", faults[0]);
}

#[test]
fn one_fault_each_with_its_line() {
    let good = format!("{HEAD}[[station]]\nname = \"one\"\n[station.scanner]\nport = \"/dev/ttyS0\"\n");
    check(&good, &[]);
    let cases = [
        (
            "prot = 1883",
            "line 6: broker.prot is not known; known here: ca_file, certificate_file, host, keep_alive_s, key_file, port, tls",
        ),
        ("port = 0", "line 6: broker.port expected a number from 1 to 65535, got 0"),
        ("port = \"1883\"", "line 6: broker.port expected a number from 1 to 65535, got \"1883\""),
        ("port = -1", "line 6: broker.port expected a number from 1 to 65535, got -1"),
        ("tls = \"no\"", "line 6: broker.tls expected true or false, got \"no\""),
        (
            "ca_file = \"ca.pem\"",
            "line 6: broker.ca_file expected an absolute path, got \"ca.pem\": a path begins with /",
        ),
        (
            "keep_alive_s = 1",
            "line 6: broker.keep_alive_s expected a number of seconds from 5 to 3600, got 1",
        ),
        (
            "[journal]\nquota_mib = 0",
            "line 7: journal.quota_mib expected a number of MiB from 1 to 1048576, got 0",
        ),
        ("[log]\nlevel = \"loud\"", "line 7: log.level expected error, warn, info or debug, got \"loud\""),
        (
            "[logs]",
            "line 6: logs is not known; known here: agent, broker, clock, journal, local, log, station",
        ),
        (
            "[[station]]\nname = \"a/b\"\n[station.scanner]\nport = \"/dev/x\"",
            "line 7: station[1].name expected a station name, got \"a/b\": station may hold only visible ASCII without /, got '/' at position 1",
        ),
        ("[[station]]\nname = \"a\"", "line 6: station[1].scanner stands 0 times, 1 to 4 are possible"),
        (
            "[[station]]\nname = \"a\"\n[station.scanner]\ndevice = \"d\"",
            "line 8: station[1].scanner.port is missing",
        ),
        (
            "[[station]]\nname = \"a\"\n[station.scanner]\nport = \"/dev/x\"\nprotocol = \"telex\"",
            "line 10: station[1].scanner.protocol expected one of line, honeywell, datalogic, ssi, keyboard, got \"telex\"",
        ),
        (
            "[[station]]\nname = \"a\"\n[station.scanner]\nport = \"ttyUSB0\"",
            "line 9: station[1].scanner.port expected a port, got \"ttyUSB0\": a path begins with /, a USB device with usb:",
        ),
        (
            "[[station]]\nname = \"a\"\n[station.scanner]\nport = \"usb:1a86:7523\"\nfeedback = \"scanner\"",
            "line 10: station[1].scanner.feedback expected one of none, bell, got \"scanner\"",
        ),
        (
            "[[station]]\nname = \"a\"\n[station.scanner]\nport = \"usb:1a86:7523\"\nprotocol = \"keyboard\"\nsuffix = \"\"",
            "line 11: station[1].scanner.suffix is not used by protocol keyboard: remove it",
        ),
        (
            "[[station]]\nname = \"a\"\n[station.scanner]\nport = \"usb:1a86:7523\"\nlayout = \"de\"",
            "line 10: station[1].scanner.layout is not used by protocol line: remove it",
        ),
        (
            "[[station]]\nname = \"a\"\n[station.scanner]\nport = \"/dev/x\"\nline = \"9600\"",
            "line 10: station[1].scanner.line expected line settings, got \"9600\": expected line settings such as \"9600 8N1\" (50 to 4000000 baud, 7 or 8 bits, N, E or O, 1 or 2), got \"9600\"",
        ),
        (
            "[[station]]\nname = \"a\"\n[station.scanner]\nport = \"/dev/x\"\n[station.scale]\nport = \"/dev/x\"",
            "line 11: station[1].scale.port /dev/x is used by another device too",
        ),
        (
            "[[station]]\nname = \"a\"\n[station.scanner]\nport = \"/dev/x\"\n[station.scale]\nport = \"/dev/y\"\nchecksum = false",
            "line 12: station[1].scale.checksum means nothing to mt-sics: take it out",
        ),
        (
            "[[station]]\nname = \"a\"\n[station.scanner]\nport = \"/dev/x\"\n[station.scale]\nport = \"/dev/y\"\nprotocol = \"toledo-8217\"\nstatus_bits = \"8213\"",
            "line 13: station[1].scale.status_bits expected one of 8217, benchpro, got \"8213\"",
        ),
        (
            "[[station]]\nname = \"a\"\n[[station.scanner]]\nport = \"/dev/x\"\n[[station.scanner]]\nport = \"/dev/y\"",
            "line 8: station[1].scanner has two devices named scanner: give each a name with device = \"...\"",
        ),
        (
            "[[station]]\nname = \"a\"\n[station.scanner]\nport = \"/dev/x\"\n[[station]]\nname = \"a\"\n[station.scanner]\nport = \"/dev/y\"",
            "line 11: station[2].name a stands twice",
        ),
    ];
    for (addition, fault) in cases {
        check(&format!("{HEAD}{addition}\n"), &[fault]);
    }
}

/// Whoever chooses a protocol with commands of its own gets them without a further key.
#[test]
fn each_protocol_has_its_own_defaults() {
    let scanner = |keys: &str| {
        let text = format!("{HEAD}[[station]]\nname = \"a\"\n[station.scanner]\nport = \"/dev/x\"\n{keys}\n");
        let mut config = Config::parse(&text).unwrap_or_else(|faults| panic!("{faults}"));
        config.stations.remove(0).scanners.remove(0)
    };
    for (keys, feedback, gap_ms) in [
        ("", Feedback::None, 50),
        ("feedback = \"bell\"", Feedback::Bell, 50),
        ("protocol = \"honeywell\"", Feedback::Scanner, 50),
        ("protocol = \"datalogic\"\nfeedback = \"none\"", Feedback::None, 50),
        ("protocol = \"ssi\"", Feedback::Scanner, 50),
        ("protocol = \"keyboard\"\nlayout = \"fr\"", Feedback::None, 100),
    ] {
        let options = scanner(keys).options;
        assert_eq!((options.feedback, options.gap.as_millis()), (feedback, gap_ms), "{keys}");
    }
    assert_eq!(scanner("protocol = \"keyboard\"\nlayout = \"fr\"").options.layout, Layout::Fr);
    assert_eq!(scanner("bounce_ms = 0").bounce, Duration::ZERO);
}

#[test]
fn all_faults_at_once_and_in_order() {
    check(
        "[agent]\nid = \"B\"\n\n[broker]\nport = 99999\n[journal]\npath = 7\ncolour = 1\n",
        &[
            "line 1: agent.site is missing",
            "line 2: agent.id expected an agent id, got \"B\": agent id must have 3 to 64 characters, got 1",
            "line 4: broker.host is missing",
            "line 5: broker.port expected a number from 1 to 65535, got 99999",
            "line 7: journal.path expected an absolute path, got 7",
            "line 8: journal.colour is not known; known here: path, quota_mib, retained_rows",
        ],
    );
}

#[test]
fn text_that_is_no_toml_is_told_with_its_line_and_does_not_hide_the_rest() {
    let Faults(faults) = Config::parse("[agent]\nid = \n[broker]\nport = 0\n").unwrap_err();
    assert_eq!(
        faults.iter().filter(|fault| fault.line == 2 && fault.key.is_empty()).count(),
        1,
        "{faults:?}"
    );
    assert!(faults.iter().any(|fault| fault.key == "broker.port"), "{faults:?}");
    assert!(Config::parse(&"[".repeat(10_000)).is_err());
    assert!(Config::parse(&"x".repeat(100_000)).is_err());
}

#[test]
fn plain_tcp_must_be_asked_for() {
    let config = |addition: &str| Config::parse(&format!("{HEAD}{addition}\n")).unwrap();
    assert!(config("").broker.tls.is_some());
    assert_eq!(config("").broker.port, 8883);
    assert_eq!(
        config("tls = false").broker,
        BrokerConfig { host: "localhost".into(), port: 1883, tls: None, keep_alive_s: 60 }
    );
    check(
        &format!("{HEAD}tls = false\nca_file = \"/x\"\n"),
        &["line 7: broker.ca_file is not used, because tls = false: remove one of the two"],
    );
}

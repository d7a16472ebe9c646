//! cel-go's extensions and Kubernetes' libraries.

mod common;

use std::sync::Mutex;

use common::{all_fail, all_true};
use timonier_cel::{Authorizer, Budget, Decision, Environment, Program, Question, Val, Variables};

#[test]
fn strings() {
    all_true(&[
        "'tacocat'.charAt(3) == 'o' && 'é'.charAt(0) == 'é' && 'ab'.charAt(2) == ''",
        "'hello mellow'.indexOf('ello') == 1 && 'hello mellow'.indexOf('ello', 2) == 7",
        "'hello mellow'.indexOf('jello') == -1 && 'hello'.indexOf('') == 0",
        "'hello mellow'.lastIndexOf('ello') == 7 && 'hello mellow'.lastIndexOf('ello', 6) == 1",
        "['a', 'b'].join() == 'ab' && ['a', 'b'].join('-') == 'a-b' && [].join('x') == ''",
        "'TacoCÉ'.lowerAscii() == 'tacocÉ' && 'tacé'.upperAscii() == 'TACé'",
        "'hello hello'.replace('he', 'we') == 'wello wello' && 'hello hello'.replace('he', 'we', 1) == 'wello hello'",
        "'hello'.replace('', '_') == '_h_e_l_l_o_' && 'aa'.replace('a', 'b', 0) == 'aa'",
        "'a,b,c'.split(',') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c']",
        "'é12'.split('') == ['é', '1', '2'] && 'é12'.split('', 2) == ['é', '12'] && 'a'.split(',', 0) == []",
        "'tacocat'.substring(4) == 'cat' && 'tacocat'.substring(0, 4) == 'taco' && 'é1'.substring(1) == '1'",
        "'  \\ttrim\\n '.trim() == 'trim'",
        "strings.quote('a\"b\\n') == '\"a\\\\\"b\\\\n\"'",
        "'%s and %d and %%'.format(['a', 1]) == 'a and 1 and %'",
        "'%.2f %b %o %x %X'.format([1.234, 5, 8, 255, 'hi']) == '1.23 101 10 ff 6869'",
        "'%s'.format([[1, 'a', 1.5, null]]) == '[1, \"a\", 1.500000, null]'",
        "'%s'.format([{'b': 1, 'a': true}]) == '{\"a\":true, \"b\":1}'",
        "'%s %s'.format([duration('1s'), type(1)]) == '1s int'",
        "'abc'.contains('b') && 'abc'.startsWith('ab') && 'abc'.endsWith('bc')",
        "'foobar'.matches('^fo+b') && matches('foobar', 'o{2}') && !'x'.matches(x.s)",
        "'abc 123'.find('[0-9]+') == '123' && 'abc'.find('[0-9]+') == ''",
        "'123 abc 456'.findAll('[0-9]+') == ['123', '456'] && '1 2 3'.findAll('[0-9]', 2) == ['1', '2']",
    ]);
    all_fail(&[
        ("'a'.charAt(5)", "index out of range: 5"),
        ("'abc'.substring(2, 1)", "invalid substring range. start: 2, end: 1"),
        ("'abc'.substring(-1)", "index out of range: -1"),
        (
            "'%d'.format(['a'])",
            "error during formatting: decimal clause can only be used on integers, was given string",
        ),
        ("'%s %s'.format(['a'])", "index 1 out of range"),
        (
            "'%q'.format(['a'])",
            "could not parse formatting clause: unrecognized formatting clause \"q\"",
        ),
        ("'a'.reverse()", "undeclared reference to 'reverse' (in container '')"),
    ]);
}

#[test]
fn lists_and_sets() {
    all_true(&[
        "[1, 2, 2].isSorted() && !['b', 'a'].isSorted() && x.list.isSorted()",
        "[1, 2].sum() == 3 && [1.5, 2.0].sum() == 3.5 && [duration('1s'), duration('2s')].sum() == duration('3s')",
        "[3, 1].min() == 1 && ['a', 'c'].max() == 'c' && x.list.max() == 3",
        "[1, 2, 2].indexOf(2) == 1 && [1, 2, 2].lastIndexOf(2) == 2 && [1].indexOf(5) == -1",
        "sets.contains([1, 2, 3], [3, 1]) && !sets.contains([1], [2]) && sets.contains([], [])",
        "sets.equivalent([1, 2, 2], [2, 1]) && sets.intersects([1, 2], [2, 3]) && !sets.intersects([1], [])",
    ]);
    all_fail(&[
        ("dyn([]).min() == 1", "min called on empty list"),
        ("[dyn(1), 'a'].isSorted()", "no such overload"),
    ]);
}

#[test]
fn kubernetes_types() {
    all_true(&[
        "quantity('1.5Gi').isGreaterThan(quantity('1G')) && quantity('1Ki').asInteger() == 1024",
        "isQuantity('100m') && !isQuantity('1Kb') && quantity('100m').isInteger() == false",
        "quantity('1').add(quantity('1k')).compareTo(quantity('1001')) == 0 && quantity('2').sub(3).sign() == -1",
        "quantity('500m').asApproximateFloat() == 0.5 && quantity('1000m') == quantity('1')",
        "isURL('https://example.com:80/') && !isURL('../relative')",
        "url('https://user@example.com:80/p a?k=a&k=b').getHost() == 'example.com:80'",
        "url('https://[::1]:80/p').getHostname() == '::1' && url('https://a:80/').getPort() == '80'",
        "url('https://a/b c').getEscapedPath() == '/b%20c' && url('/p').getScheme() == ''",
        "url('https://a/?k=a&k=b&l=%20').getQuery() == {'k': ['a', 'b'], 'l': [' ']}",
        "isIP('1.2.3.4') && !isIP('1.2.3') && ip('::1').family() == 6 && ip('127.0.0.1').isLoopback()",
        "ip.isCanonical('::1') && !ip.isCanonical('0:0:0:0:0:0:0:1') && string(ip('::1')) == '::1'",
        "ip('169.254.1.1').isLinkLocalUnicast() && ip('224.0.0.1').isLinkLocalMulticast()",
        "ip('8.8.8.8').isGlobalUnicast() && ip('0.0.0.0').isUnspecified()",
        "isCIDR('10.0.0.0/8') && !isCIDR('10.0.0.0/33') && cidr('10.0.0.0/8').containsIP('10.1.2.3')",
        "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !cidr('10.0.0.0/8').containsCIDR('0.0.0.0/0')",
        "cidr('192.168.1.5/24').masked() == cidr('192.168.1.0/24') && cidr('::/0').prefixLength() == 0",
        "cidr('10.0.0.1/8').ip() == ip('10.0.0.1') && string(cidr('10.0.0.1/8')) == '10.0.0.1/8'",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-a').compareTo(semver('1.0.0')) == -1",
        "isSemver('1.0.0') && !isSemver('v1.0') && isSemver('v1.0', true) && semver('v1.02', true).minor() == 2",
        "!format.dns1123Label().validate('my-name').hasValue() && format.dns1123Label().validate('A').value().size() == 1",
        "format.named('uuid').value().validate('x').value() == ['does not match the UUID format']",
        "!format.named('nothing').hasValue() && !format.date().validate('2021-01-01').hasValue()",
        "!format.dns1123LabelPrefix().validate('my-').hasValue() && format.byte().validate('a').hasValue()",
    ]);
    all_fail(&[
        ("quantity('1.5').asInteger()", "cannot convert value to integer"),
        (
            "quantity('x')",
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        ("ip('::ffff:1.2.3.4')", "IPv4-mapped IPv6 address \"::ffff:1.2.3.4\" is not allowed"),
        ("semver('1')", "No Major.Minor.Patch elements found"),
    ]);
}

struct OnlyPods(Mutex<Vec<Question>>);

impl Authorizer for OnlyPods {
    fn check(&self, question: &Question) -> Decision {
        self.0.lock().unwrap().push(question.clone());
        let allowed = question.resource == "pods";
        Decision { allowed, reason: "because".into(), error: None }
    }
}

#[test]
fn authorizer() {
    let environment = Environment::new().with_authorizer();
    let authorizer = OnlyPods(Mutex::default());
    let resource = Question { resource: "nodes".into(), ..Default::default() };
    let variables = Variables::new()
        .with("authorizer", Val::authorizer(&authorizer))
        .with("authorizer.requestResource", Val::resource_check(&authorizer, resource));
    let run = |source: &str| {
        let program = Program::compile(source, &environment).unwrap();
        program.evaluate(&variables, &mut Budget::default())
    };
    let source = "authorizer.serviceAccount('ns', 'sa').group('apps').resource('pods')\
                  .subresource('log').namespace('n').name('p').check('get').allowed()";
    assert_eq!(run(source).unwrap().as_bool(), Some(true));
    let asked = authorizer.0.lock().unwrap().pop().unwrap();
    assert_eq!(asked.service_account, Some(("ns".into(), "sa".into())));
    assert_eq!((&*asked.group, &*asked.resource, &*asked.subresource), ("apps", "pods", "log"));
    assert_eq!((&*asked.namespace, &*asked.name, &*asked.verb), ("n", "p", "get"));
    let denied = "!authorizer.requestResource.check('get').allowed() && authorizer.path('/x').check('get').reason() == 'because'";
    assert_eq!(run(denied).unwrap().as_bool(), Some(true));
    let thrice =
        "['a', 'b', 'c'].all(v, authorizer.group(v).resource('pods').check('get').allowed())";
    let error = run(thrice).unwrap_err().to_string();
    assert_eq!(error, "operation cancelled: actual cost limit exceeded");
    let error =
        run("authorizer.serviceAccount('N', 'a').path('/').check('get').allowed()").unwrap_err();
    assert!(error.to_string().starts_with("Invalid service account namespace"));
}

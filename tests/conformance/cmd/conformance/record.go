package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"sort"
	"strings"

	"sigs.k8s.io/yaml"
)

// The results that a test can have.
const (
	passed = "passed"
	failed = "failed"
	notRun = "not run"
)

// unexamined marks a cause that is a test's own message, which nobody has looked into.
const unexamined = "unexamined: "

const recordHead = "# test\tresult\tcause"

// row is one line of the record.
type row struct {
	name, result, cause string
}

func readRecord(path string) (map[string]row, error) {
	file, err := os.Open(path)
	if os.IsNotExist(err) {
		return map[string]row{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	rows := map[string]row{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.SplitN(line, "\t", 3)
		if len(fields) != 3 {
			return nil, fmt.Errorf("%s: not three fields: %q", path, line)
		}
		rows[fields[0]] = row{fields[0], fields[1], fields[2]}
	}
	return rows, lines.Err()
}

func writeRecord(path string, rows map[string]row) error {
	var text strings.Builder
	fmt.Fprintln(&text, recordHead)
	for _, name := range sortedNames(rows) {
		r := rows[name]
		fmt.Fprintf(&text, "%s\t%s\t%s\n", r.name, r.result, r.cause)
	}
	return os.WriteFile(path, []byte(text.String()), 0o644)
}

func sortedNames(rows map[string]row) []string {
	names := make([]string, 0, len(rows))
	for name := range rows {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// merge returns the record with the results of a run in it. Every test of the suite has a row, and
// no other has. A test that still fails keeps the cause that somebody found.
func merge(names []string, old map[string]row, specs []spec) map[string]row {
	rows := map[string]row{}
	for _, name := range names {
		before, known := old[name]
		if !known {
			before = row{name, notRun, ""}
		}
		rows[name] = before
	}
	for _, s := range specs {
		before, known := rows[s.name]
		if !known {
			continue
		}
		switch {
		case s.result == passed:
			rows[s.name] = row{s.name, passed, ""}
		case s.result == before.result && before.cause != "" && !strings.HasPrefix(before.cause, unexamined):
			// Examined: it stays until somebody edits it.
		case s.result == notRun && s.message == "interrupted":
			// The run ended early: what was known of the test still is.
		default:
			rows[s.name] = row{s.name, s.result, unexamined + shorten(s.message)}
		}
	}
	return rows
}

// shorten makes one short line of a failure's message.
func shorten(message string) string {
	line := strings.Join(strings.Fields(message), " ")
	if runes := []rune(line); len(runes) > 160 {
		line = string(runes[:157]) + "..."
	}
	return line
}

// suiteNames asks the test program for the names of the conformance tests.
func suiteNames(ctx context.Context, s *settings) ([]string, error) {
	out, err := output(ctx, s.testProgram(), "--list-conformance-tests")
	if err != nil {
		return nil, err
	}
	var tests []struct {
		Codename string `json:"codename"`
	}
	if err := yaml.Unmarshal([]byte(out), &tests); err != nil {
		return nil, err
	}
	var names []string
	for _, test := range tests {
		names = append(names, test.Codename)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s lists no conformance test", s.testProgram())
	}
	return names, nil
}

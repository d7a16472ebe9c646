package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestMergeKeepsACauseThatSomebodyFound(t *testing.T) {
	old := map[string]row{
		"a": {"a", failed, "no feature X"},
		"b": {"b", failed, unexamined + "old message"},
		"c": {"c", failed, "no feature Y"},
		"d": {"d", passed, ""},
		"e": {"e", passed, ""},
		"z": {"z", passed, ""},
	}
	specs := []spec{
		{name: "a", result: failed, message: "timed out"},
		{name: "b", result: failed, message: "new\n  message"},
		{name: "c", result: passed},
		{name: "d", result: failed, message: "broke"},
		{name: "e", result: notRun, message: "interrupted"},
		{name: "not of the suite", result: passed},
	}
	got := merge([]string{"a", "b", "c", "d", "e", "f"}, old, specs)
	want := map[string]row{
		"a": {"a", failed, "no feature X"},
		"b": {"b", failed, unexamined + "new message"},
		"c": {"c", passed, ""},
		"d": {"d", failed, unexamined + "broke"},
		"e": {"e", passed, ""},
		"f": {"f", notRun, ""},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestRecordComesBackAsItWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record.tsv")
	rows := map[string]row{"a": {"a", failed, "cause: x"}, "b": {"b", passed, ""}}
	if err := writeRecord(path, rows); err != nil {
		t.Fatal(err)
	}
	got, err := readRecord(path)
	if err != nil || !reflect.DeepEqual(got, rows) {
		t.Errorf("got %v, %v", got, err)
	}
	if err := os.WriteFile(path, []byte("no tabs\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readRecord(path); err == nil {
		t.Error("a line of one field is accepted")
	}
}

func TestTableCountsPerArea(t *testing.T) {
	before := map[string]row{"[sig-a] x": {"[sig-a] x", passed, ""}}
	after := map[string]row{
		"[sig-a] x": {"[sig-a] x", failed, "broke"},
		"[sig-b] y": {"[sig-b] y", passed, ""},
		"[sig-b] z": {"[sig-b] z", notRun, ""},
	}
	var out strings.Builder
	printTable(&out, before, after)
	var lines [][]string
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		lines = append(lines, strings.Fields(line))
	}
	want := [][]string{
		{"area", "passed", "failed", "not", "run", "change"},
		{"sig-a", "0", "1", "0", "-1"},
		{"sig-b", "1", "0", "1", "+1"},
		{"all", "1", "1", "1", "+0"},
		{"-", "[sig-a]", "x", "(broke)"},
		{"+", "[sig-b]", "y"},
	}
	if !reflect.DeepEqual(lines, want) {
		t.Errorf("got %v", lines)
	}
}

func TestSampleTakesOnlyWhatPassedRepeatedly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.tsv")
	content := "t\t[sig-a] twice\tpassed\t2.0\nt\t[sig-a] twice\tpassed\t3.0\n" +
		"t\t[sig-a] once\tpassed\t1.0\n" +
		"t\t[sig-b] broke\tpassed\t1.0\nt\t[sig-b] broke\tpassed\t1.0\nt\t[sig-b] broke\tfailed\t1.0\n" +
		"t\t[sig-b] slow\tpassed\t900.0\nt\t[sig-b] slow\tpassed\t900.0\n" +
		"t\t[sig-b] alone [Serial]\tpassed\t1.0\nt\t[sig-b] alone [Serial]\tpassed\t1.0\n"
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	history, err := readHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	record := map[string]row{}
	for name := range history {
		record[name] = row{name, passed, ""}
	}
	if got := choose(record, history); !reflect.DeepEqual(got, []string{"[sig-a] twice"}) {
		t.Errorf("got %v", got)
	}
}

func TestReportOfGinkgoIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	content := `[{"SpecReports":[
	{"ContainerHierarchyTexts":["[sig-a] A"],"LeafNodeType":"It","LeafNodeText":"works","State":"passed","RunTime":2000000000},
	{"ContainerHierarchyTexts":["[sig-a] A"],"LeafNodeType":"It","LeafNodeText":"breaks","State":"failed","Failure":{"Message":"no"}},
	{"ContainerHierarchyTexts":["[sig-a] A"],"LeafNodeType":"It","LeafNodeText":"other phase","State":"skipped"},
	{"ContainerHierarchyTexts":["[sig-a] A"],"LeafNodeType":"It","LeafNodeText":"skips","State":"skipped","Failure":{"Message":"needs 2 nodes"}},
	{"LeafNodeType":"SynchronizedBeforeSuite","State":"passed"}]}]`
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := readReport(path)
	want := []spec{
		{"[sig-a] A works", passed, "", 2},
		{"[sig-a] A breaks", failed, "no", 0},
		{"[sig-a] A skips", notRun, "needs 2 nodes", 0},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestReportOfOneProcessIsFound(t *testing.T) {
	dir := t.TempDir()
	if got := reportOf(dir); got != filepath.Join(dir, "report.json") {
		t.Errorf("got %s", got)
	}
	named := filepath.Join(dir, "e2e-v1_report.json")
	if err := os.WriteFile(named, []byte("[]"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := reportOf(dir); got != named {
		t.Errorf("got %s", got)
	}
}

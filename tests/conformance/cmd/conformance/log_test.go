package main

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestLogOfAnInterruptedRunIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	content := `• [53.460 seconds]
[sig-a] A works [Slow] [Conformance] [sig-a, Slow, Conformance]
/path/a.go:1
• [FAILED] [2.503 seconds]
[sig-a] B [It] breaks [Conformance] [sig-a, Conformance]
• [2.503 seconds]
[sig-a] not of the suite [sig-a, Conformance]
• [INTERRUPTED] [2.503 seconds]
[sig-a] C [It] ends early [Conformance] [sig-a, Conformance]
• [FAILED] [2.503 seconds]
[sig-a] D [It] fails because of that [Conformance] [sig-a, Conformance]
`
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	names := []string{
		"[sig-a] A works [Slow] [Conformance]", "[sig-a] B breaks [Conformance]",
		"[sig-a] C ends early [Conformance]", "[sig-a] D fails because of that [Conformance]",
	}
	got, err := readLog(path, names)
	want := []spec{
		{"[sig-a] A works [Slow] [Conformance]", passed, "", 53.46},
		{"[sig-a] B breaks [Conformance]", failed, "the run was interrupted, see its log", 2.503},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}

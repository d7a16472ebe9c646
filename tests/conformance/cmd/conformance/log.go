package main

import (
	"bufio"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// ended is the line of the log that a test's own lines begin with.
var ended = regexp.MustCompile(`^• (\[[A-Z]+\] )?\[([0-9]+[.][0-9]+) seconds\]`)

// readLog returns the tests that passed or failed, of a run that left no report. What failed after
// the interruption failed because of it and is left out.
func readLog(path string, names []string) ([]spec, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	known := map[string]bool{}
	for _, name := range names {
		known[name] = true
	}
	lines := bufio.NewReader(file)
	var specs []spec
	interrupted, state, seconds := false, "", 0.0
	for {
		line, err := lines.ReadString('\n')
		if match := ended.FindStringSubmatch(line); match != nil {
			state = strings.TrimSpace(match[1])
			seconds, _ = strconv.ParseFloat(match[2], 64)
			interrupted = interrupted || state == "[INTERRUPTED]"
			if state == "" {
				state = passed
			}
		} else if state != "" {
			name := nameInLog(line, known)
			switch {
			case name == "":
			case state == passed:
				specs = append(specs, spec{name: name, result: passed, seconds: seconds})
			case state == "[FAILED]" && !interrupted:
				specs = append(specs, spec{name: name, result: failed, message: "the run was interrupted, see its log", seconds: seconds})
			}
			state = ""
		}
		if err != nil {
			return specs, nil
		}
	}
}

// nameInLog finds the test of a line, in which its name is followed by its labels. In the line of a
// failed test a mark says which part failed.
func nameInLog(line string, known map[string]bool) string {
	line = strings.TrimSpace(strings.Replace(line, "[It] ", "", 1))
	for end := len(line); end > 0; end = strings.LastIndex(line[:end], " [") {
		if known[line[:end]] {
			return line[:end]
		}
	}
	return ""
}

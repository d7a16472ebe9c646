package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"
)

// The sample's tests have passed this often, and together take this long one after the other. Run
// in parallel on two cores that is about ten minutes with the start of the cluster: 1,500 seconds of
// tests took four.
const (
	samplePasses  = 2
	sampleSeconds = 2400
	sampleLongest = 40
)

// past is what the history knows of a test.
type past struct {
	name     string
	passes   int
	failures int
	seconds  float64 // the longest run
}

// appendHistory adds the run's results to the history, which only the choice of the sample reads.
func appendHistory(s *settings, specs []spec) error {
	file, err := os.OpenFile(s.historyFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	when := time.Now().UTC().Format(time.RFC3339)
	for _, one := range specs {
		if one.result == notRun {
			continue
		}
		if _, err := fmt.Fprintf(file, "%s\t%s\t%s\t%.1f\n", when, one.name, one.result, one.seconds); err != nil {
			return err
		}
	}
	return nil
}

// readHistory counts only what came after a test's last failure: what was fixed may be sampled.
func readHistory(path string) (map[string]*past, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	tests := map[string]*past{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		if len(fields) != 4 {
			return nil, fmt.Errorf("%s: not four fields: %q", path, lines.Text())
		}
		name, result := fields[1], fields[2]
		seconds, err := strconv.ParseFloat(fields[3], 64)
		if err != nil {
			return nil, err
		}
		p := tests[name]
		if p == nil {
			p = &past{name: name}
			tests[name] = p
		}
		if result != passed {
			p.passes, p.seconds = 0, 0
			p.failures++
			continue
		}
		p.passes++
		p.seconds = max(p.seconds, seconds)
	}
	return tests, lines.Err()
}

// choose takes turns between the areas, the quickest tests first, until the time is used up.
// Serial tests are left to the whole run.
func choose(record map[string]row, history map[string]*past) []string {
	areas := map[string][]*past{}
	for name, p := range history {
		if record[name].result == passed && p.passes >= samplePasses && p.seconds <= sampleLongest &&
			!strings.Contains(name, "[Serial]") {
			areas[area(name)] = append(areas[area(name)], p)
		}
	}
	var names []string
	for name, tests := range areas {
		names = append(names, name)
		sort.Slice(tests, func(a, b int) bool {
			if tests[a].seconds != tests[b].seconds {
				return tests[a].seconds < tests[b].seconds
			}
			return tests[a].name < tests[b].name
		})
	}
	sort.Strings(names)
	var chosen []string
	left, more := float64(sampleSeconds), true
	for turn := 0; more && left > 0; turn++ {
		more = false
		for _, name := range names {
			if turn < len(areas[name]) && left > 0 {
				more = true
				left -= areas[name][turn].seconds
				chosen = append(chosen, areas[name][turn].name)
			}
		}
	}
	sort.Strings(chosen)
	return chosen
}

func writeSample(s *settings) error {
	record, err := readRecord(s.recordFile())
	if err != nil {
		return err
	}
	history, err := readHistory(s.historyFile())
	if err != nil {
		return err
	}
	chosen := choose(record, history)
	fmt.Printf("the sample has %d tests\n", len(chosen))
	return os.WriteFile(s.sampleFile(), []byte(strings.Join(chosen, "\n")+"\n"), 0o644)
}

// runSample runs the committed sample and fails if one of its tests passes in neither of two attempts.
func runSample(ctx context.Context, s *settings) error {
	content, err := os.ReadFile(s.sampleFile())
	if err != nil {
		return err
	}
	wanted := strings.Split(strings.TrimSpace(string(content)), "\n")
	started := time.Now()
	s.attempts = 2
	_, specs, err := runSuite(ctx, s, []string{exactly(wanted)})
	if err != nil {
		return err
	}
	results := map[string]spec{}
	for _, one := range specs {
		results[one.name] = one
	}
	good, bad := 0, 0
	for _, name := range wanted {
		if results[name].result == passed {
			good++
			continue
		}
		bad++
		fmt.Printf("FAILED %s: %s\n", name, shorten(results[name].message))
	}
	fmt.Printf("the sample took %s; logs and JUnit: %s\n", time.Since(started).Round(time.Second), s.results)
	fmt.Printf("%d passed, %d failed\n", good, bad)
	if bad > 0 {
		return errTestsFailed
	}
	return nil
}

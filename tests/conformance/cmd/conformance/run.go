package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"
)

// output runs a program and returns its standard output.
func output(ctx context.Context, program string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, program, args...)
	var out, problem bytes.Buffer
	command.Stdout, command.Stderr = &out, &problem
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", program, err, problem.String())
	}
	return out.String(), nil
}

// runAll runs what FOCUS and AREA ask for, records the results and prints the table.
func runAll(ctx context.Context, s *settings) error {
	started := time.Now()
	pattern, err := focus(os.Getenv("AREA"), os.Getenv("FOCUS"))
	if err != nil {
		return err
	}
	old, err := readRecord(s.recordFile())
	if err != nil {
		return err
	}
	if results := os.Getenv("RESULT"); results != "" {
		if pattern != nil {
			return errors.New("RESULT goes with neither AREA nor FOCUS")
		}
		if pattern = recorded(old, strings.Split(results, ",")); pattern == nil {
			return fmt.Errorf("no test is recorded as %s", results)
		}
	}
	names, specs, runErr := runSuite(ctx, s, pattern)
	if names == nil {
		return runErr
	}
	rows := merge(names, old, specs)
	if err := writeRecord(s.recordFile(), rows); err != nil {
		return errors.Join(runErr, err)
	}
	if err := appendHistory(s, specs); err != nil {
		return errors.Join(runErr, err)
	}
	printTable(os.Stdout, old, rows)
	fmt.Printf("this run: %s in %s; logs and JUnit: %s\n", summary(specs), time.Since(started).Round(time.Second), s.results)
	if ctx.Err() != nil {
		fmt.Println("the run was interrupted: the tests that did not end have the results they had before")
	}
	return runErr
}

// focus is the pattern of ginkgo for an area and a pattern of the user.
func focus(area, pattern string) ([]string, error) {
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, fmt.Errorf("FOCUS: %w", err)
	}
	switch {
	case area == "" && pattern == "":
		return nil, nil
	case area == "":
		return []string{pattern}, nil
	}
	// Ginkgo puts the suite's name before the test's.
	return []string{regexp.QuoteMeta("["+strings.Trim(area, "[]")+"]") + ".*(" + pattern + ")"}, nil
}

// recorded is the pattern of the tests that have one of these results in the record.
func recorded(rows map[string]row, results []string) []string {
	var names []string
	for _, name := range sortedNames(rows) {
		if slices.Contains(results, rows[name].result) {
			names = append(names, name)
		}
	}
	if names == nil {
		return nil
	}
	return []string{exactly(names)}
}

// exactly is the pattern of these tests and no others.
func exactly(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = regexp.QuoteMeta(name)
	}
	return "(" + strings.Join(quoted, "|") + ")$"
}

func summary(specs []spec) string {
	counts := map[string]int{}
	for _, s := range specs {
		counts[s.result]++
	}
	return fmt.Sprintf("%d passed, %d failed, %d not run", counts[passed], counts[failed], counts[notRun])
}

// runSuite starts a cluster, runs both phases on it and takes it down again.
func runSuite(ctx context.Context, s *settings, patterns []string) (names []string, specs []spec, err error) {
	if err := buildPrograms(ctx, s); err != nil {
		return nil, nil, err
	}
	archives, err := buildImages(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	if names, err = suiteNames(ctx, s); err != nil {
		return nil, nil, err
	}
	c, err := startCluster(ctx, s, archives)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	for _, p := range phases {
		found, err := p.run(ctx, c, names, patterns)
		specs = append(specs, found...)
		if err != nil {
			return names, specs, err
		}
	}
	return names, specs, nil
}

package main

import (
	"fmt"
	"io"
	"sort"
	"strings"
	"text/tabwriter"
)

// area is the special interest group that a test's name begins with.
func area(name string) string {
	if end := strings.IndexByte(name, ']'); strings.HasPrefix(name, "[") && end > 0 {
		return name[1:end]
	}
	return "other"
}

// count is a line of the table.
type count struct {
	passed, failed, notRun, before int
}

// printTable prints the record per area, with what changed since the record before it.
func printTable(to io.Writer, before, after map[string]row) {
	counts := map[string]*count{}
	total := &count{}
	for name, r := range after {
		if counts[area(name)] == nil {
			counts[area(name)] = &count{}
		}
		for _, c := range []*count{counts[area(name)], total} {
			switch r.result {
			case passed:
				c.passed++
			case failed:
				c.failed++
			default:
				c.notRun++
			}
			if before[name].result == passed {
				c.before++
			}
		}
	}
	areas := make([]string, 0, len(counts))
	for name := range counts {
		areas = append(areas, name)
	}
	sort.Strings(areas)
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "area\tpassed\tfailed\tnot run\tchange\t")
	line := func(name string, c *count) {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%+d\t\n", name, c.passed, c.failed, c.notRun, c.passed-c.before)
	}
	for _, name := range areas {
		line(name, counts[name])
	}
	line("all", total)
	table.Flush()
	printChanges(to, before, after)
}

// printChanges names the tests that pass now and did not before, and the other way round.
func printChanges(to io.Writer, before, after map[string]row) {
	for _, name := range sortedNames(after) {
		was, is := before[name].result, after[name].result
		switch {
		case was != passed && is == passed:
			fmt.Fprintln(to, "+", name)
		case was == passed && is != passed:
			fmt.Fprintln(to, "-", name, "("+after[name].cause+")")
		}
	}
}

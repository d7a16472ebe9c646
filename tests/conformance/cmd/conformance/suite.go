package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// interruptGrace is how long the suite may take to end its tests after an interruption.
const interruptGrace = 90 * time.Second

// spec is one test as ginkgo reports it.
type spec struct {
	name    string
	result  string // passed, failed, or notRun
	message string
	seconds float64
}

// ginkgoReport has the fields that are used of ginkgo's JSON report.
type ginkgoReport struct {
	SpecReports []struct {
		ContainerHierarchyTexts []string
		LeafNodeType            string
		LeafNodeText            string
		State                   string
		RunTime                 int64
		Failure                 struct{ Message string }
	}
	SpecialSuiteFailureReasons []string
}

// phase is one call of ginkgo: the parallel tests or the serial ones.
type phase struct {
	name   string
	labels string
	procs  int
}

var phases = []phase{
	{name: "parallel", labels: "Conformance && !Serial"},
	{name: "serial", labels: "Conformance && Serial", procs: 1},
}

// run runs the phase's tests whose names match one of the patterns, all if there is none. Where
// ginkgo did not get to writing its report, the log tells the results.
func (p phase) run(ctx context.Context, c *cluster, names, patterns []string) ([]spec, error) {
	s := c.settings
	dir := filepath.Join(s.results, p.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	procs := p.procs
	if procs == 0 {
		procs = s.procs
	}
	args := []string{
		"--no-color", "-v", "--timeout=24h", "--procs=" + strconv.Itoa(procs), "--keep-going",
		"--silence-skips", "--label-filter=" + p.labels, "--flake-attempts=" + strconv.Itoa(s.attempts),
		"--output-dir=" + dir, "--json-report=report.json", "--junit-report=junit.xml",
	}
	for _, pattern := range patterns {
		args = append(args, "--focus="+pattern)
	}
	args = append(args, s.testProgram(), "--",
		"--kubeconfig="+c.kubeconfig(), "--provider=skeleton", "--num-nodes="+strconv.Itoa(c.nodes),
		"--kubectl-path="+filepath.Join(s.tools, "kubectl"), "--report-dir="+dir, "--disable-log-dump",
		"--kubelet-root-dir="+filepath.Join(s.data, "kubelet"), "--repo-root="+dir)
	err := p.ginkgo(ctx, s, dir, args)
	specs, readErr := readReport(reportOf(dir))
	if errors.Is(readErr, os.ErrNotExist) {
		specs, readErr = readLog(filepath.Join(dir, "log"), names)
	}
	return specs, errors.Join(err, readErr)
}

// reportOf is ginkgo's report: one process puts the suite's name before the name that was asked for.
func reportOf(dir string) string {
	if found, _ := filepath.Glob(filepath.Join(dir, "*_report.json")); len(found) > 0 {
		return found[0]
	}
	return filepath.Join(dir, "report.json")
}

// ginkgo runs to its end; failed tests are no error. On interruption it gets time to clean up.
func (p phase) ginkgo(ctx context.Context, s *settings, dir string, args []string) error {
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.CommandContext(ctx, s.ginkgo(), args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "HOME="+dir)
	// Its own group: a terminal's Ctrl-C reaches it through us alone.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error {
		// The test program outlives ginkgo and holds the pipe that is read here.
		time.AfterFunc(interruptGrace, func() { syscall.Kill(-command.Process.Pid, syscall.SIGKILL) })
		// Of ginkgo alone the test programs would hear nothing and run on to their end.
		return syscall.Kill(-command.Process.Pid, syscall.SIGINT)
	}
	command.WaitDelay = interruptGrace
	command.Stderr = log
	out, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	defer syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
	fmt.Printf("%s: the log is %s\n", p.name, log.Name())
	follow(p.name, out, log)
	err = command.Wait()
	var exit *exec.ExitError
	if ctx.Err() != nil {
		return fmt.Errorf("%s: interrupted", p.name)
	}
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return nil
	}
	return err
}

var finished = regexp.MustCompile(`^• (\[FAILED\] |\[PANICKED\] |\[TIMEDOUT\] )?\[[0-9.]+ seconds\]`)

// follow copies the output to the log, and now and then prints how far the tests are.
func follow(name string, from io.Reader, log io.Writer) {
	lines := bufio.NewReaderSize(from, 1<<16)
	passed, failed, last, started := 0, 0, time.Now(), time.Now()
	for {
		line, err := lines.ReadString('\n')
		io.WriteString(log, line)
		if match := finished.FindStringSubmatch(line); match != nil {
			if match[1] == "" {
				passed++
			} else {
				failed++
			}
			if time.Since(last) > 20*time.Second {
				last = time.Now()
				fmt.Printf("%s: %d passed, %d failed after %s\n", name, passed, failed, time.Since(started).Round(time.Second))
			}
		}
		if err != nil {
			return
		}
	}
}

// readReport returns the tests that the phase was asked to run.
func readReport(path string) ([]spec, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var reports []ginkgoReport
	if err := json.Unmarshal(content, &reports); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var specs []spec
	for _, report := range reports {
		for _, reason := range report.SpecialSuiteFailureReasons {
			fmt.Println("ginkgo:", reason)
		}
		for _, r := range report.SpecReports {
			name := strings.Join(append(r.ContainerHierarchyTexts, r.LeafNodeText), " ")
			if r.LeafNodeType != "It" {
				if r.State != "passed" && r.State != "skipped" {
					fmt.Printf("%s %s: %s: %s\n", r.LeafNodeType, r.LeafNodeText, r.State, shorten(r.Failure.Message))
				}
				continue
			}
			one := spec{name: name, message: r.Failure.Message, seconds: float64(r.RunTime) / 1e9}
			switch r.State {
			case "passed":
				one.result = passed
			case "failed", "panicked", "timedout":
				one.result = failed
			case "skipped":
				// The tests of other phases have no message; a test that skips itself says why.
				if r.Failure.Message == "" {
					continue
				}
				one.result = notRun
			default: // pending, interrupted, aborted
				one.result = notRun
				one.message = r.State
			}
			specs = append(specs, one)
		}
	}
	return specs, nil
}

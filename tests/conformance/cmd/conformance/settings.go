package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// The version of Kubernetes whose suite runs, and the name that its results have.
const (
	kubernetesModule = "k8s.io/kubernetes"
	recordName       = "v1.35"
	clusterName      = "conformance"
)

// settings is all that a command needs to know of its surroundings.
type settings struct {
	module  string // this Go module's directory
	cache   string // where what was built is kept
	results string // where logs and JUnit files go
	data    string // the cluster's data directory
	bin     string // the timonier binary
	tools   string // the directory of the real kubectl
	procs   int
	// attempts is how often a test may run until it passes: once, but in the sample, which judges a
	// change on a machine that may be busy.
	attempts int
	keep     bool // leave the cluster running
	version  string
}

func settingsFromFlags() *settings {
	s := &settings{attempts: 1}
	flag.StringVar(&s.module, "module", ".", "the directory of tests/conformance")
	flag.StringVar(&s.bin, "bin", os.Getenv("TIMONIER_BIN"), "the timonier binary")
	flag.StringVar(&s.tools, "tools", os.Getenv("TIMONIER_TOOLS"), "the directory of the real kubectl")
	flag.StringVar(&s.cache, "cache", "", "where to keep what is built [default: ~/.cache/timonier/conformance]")
	flag.StringVar(&s.data, "data-dir", "", "the cluster's data directory [default: CACHE/cluster]")
	flag.BoolVar(&s.keep, "keep", false, "leave the cluster running at the end, for a look at it")
	return s
}

// prepare makes the paths absolute and creates what is missing.
func (s *settings) prepare() error {
	if s.cache == "" {
		base := os.Getenv("XDG_CACHE_HOME")
		if base == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return err
			}
			base = filepath.Join(home, ".cache")
		}
		s.cache = filepath.Join(base, "timonier", "conformance")
	}
	if s.data == "" {
		s.data = filepath.Join(s.cache, "cluster")
	}
	for _, path := range []*string{&s.module, &s.cache, &s.data, &s.bin, &s.tools} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = absolute
	}
	s.results = filepath.Join(s.cache, "runs", time.Now().UTC().Format("20060102-150405"))
	s.procs = 2 * runtime.NumCPU()
	if text := os.Getenv("PROCS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("PROCS=%q is no number of processes", text)
		}
		s.procs = n
	}
	version, err := s.goOutput(context.Background(), "list", "-m", "-f", "{{.Version}}", kubernetesModule)
	if err != nil {
		return err
	}
	s.version = strings.TrimSpace(version)
	return os.MkdirAll(s.cache, 0o755)
}

func (s *settings) recordFile() string {
	return filepath.Join(s.module, "results", recordName+".tsv")
}

func (s *settings) sampleFile() string {
	return filepath.Join(s.module, "results", recordName+".sample")
}

func (s *settings) historyFile() string {
	return filepath.Join(s.cache, "history.tsv")
}

func (s *settings) testProgram() string {
	return filepath.Join(s.cache, "e2e-"+s.version+".test")
}

func (s *settings) ginkgo() string {
	return filepath.Join(s.cache, "ginkgo-"+s.version)
}

// goOutput runs the go command in this module and returns what it prints.
func (s *settings) goOutput(ctx context.Context, args ...string) (string, error) {
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = s.module
	var out, problem bytes.Buffer
	command.Stdout, command.Stderr = &out, &problem
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, problem.String())
	}
	return out.String(), nil
}

// timonier runs our binary on the run's own cluster, with a home of its own so that the user's
// kubeconfig stays as it is. What it prints is in the error if it fails.
func (s *settings) timonier(ctx context.Context, data string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, s.bin, append(args, "--data-dir", data)...)
	home := filepath.Join(s.cache, "home")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return "", err
	}
	command.Env = append(os.Environ(), "HOME="+home)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	if err := command.Run(); err != nil {
		return out.String(), fmt.Errorf("timonier %s: %w\n%s", strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// buildPrograms builds upstream's test program and ginkgo's runner, unless the cache has them.
func buildPrograms(ctx context.Context, s *settings) error {
	stamp := "k8s.io/component-base/version."
	parts := strings.SplitN(strings.TrimPrefix(s.version, "v"), ".", 3)
	if len(parts) != 3 {
		return fmt.Errorf("%s is no version of three parts", s.version)
	}
	flags := fmt.Sprintf("-s -w -X %sgitVersion=%s -X %sgitMajor=%s -X %sgitMinor=%s",
		stamp, s.version, stamp, parts[0], stamp, parts[1])
	err := s.buildOnce(ctx, s.testProgram(), "the upstream test program (the first time this takes many minutes)",
		"test", "-c", "-vet=off", "-p", "2", "-ldflags", flags, kubernetesModule+"/test/e2e")
	if err != nil {
		return err
	}
	return s.buildOnce(ctx, s.ginkgo(), "ginkgo's runner", "build", "github.com/onsi/ginkgo/v2/ginkgo")
}

// buildOnce runs `go verb -o target …` unless the target is there.
func (s *settings) buildOnce(ctx context.Context, target, what, verb string, args ...string) error {
	if _, err := os.Stat(target); err == nil {
		return nil
	}
	fmt.Println("building", what)
	return s.goBuild(ctx, target, append([]string{verb}, args...)...)
}

// goBuild builds without C libraries, so that programs run in any image and share what was
// compiled. The target appears only when it is whole.
func (s *settings) goBuild(ctx context.Context, target string, args ...string) error {
	partial := target + ".partial"
	command := exec.CommandContext(ctx, "go", slices.Insert(args, 1, "-o", partial)...)
	command.Dir = s.module
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return os.Rename(partial, target)
}

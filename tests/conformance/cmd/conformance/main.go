// Command conformance builds Kubernetes' own end-to-end test program and its images, runs the
// conformance tests against a cluster of its own, and keeps the record of their results.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage: conformance [FLAGS] run|sample|write-sample|build|images|report

  run           run the tests and record them (environment: FOCUS=regexp, AREA=sig-apps,
                RESULT=failed,not run, PROCS=n)
  sample        run the committed sample; fail if one of its tests does not pass
  write-sample  choose the sample anew from the tests that passed in every recorded run
  build         build the test program only
  images [NAME] build the images only
  report        print the table of the recorded results
`

// errTestsFailed says that the command did its work and that tests of the sample failed.
var errTestsFailed = errors.New("tests of the sample failed")

func main() {
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage); flag.PrintDefaults() }
	settings := settingsFromFlags()
	flag.Parse()
	// The first signal ends the run in order; a second one kills.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	if err := dispatch(ctx, settings, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		if ctx.Err() != nil {
			os.Exit(130)
		}
		os.Exit(1)
	}
}

func dispatch(ctx context.Context, s *settings, command string) error {
	if err := s.prepare(); err != nil {
		return err
	}
	switch command {
	case "run":
		return runAll(ctx, s)
	case "sample":
		return runSample(ctx, s)
	case "write-sample":
		return writeSample(s)
	case "build":
		return buildPrograms(ctx, s)
	case "images":
		_, err := buildImages(ctx, s, flag.Args()[1:]...)
		return err
	case "report":
		rows, err := readRecord(s.recordFile())
		if err != nil {
			return err
		}
		printTable(os.Stdout, rows, rows)
		return nil
	default:
		flag.Usage()
		return fmt.Errorf("unknown command %q", command)
	}
}

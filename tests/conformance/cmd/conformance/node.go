package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The second node, and the way from its network namespace to the host.
const (
	secondName      = "conformance-2"
	secondInterface = "tconformance"
	secondHere      = "10.213.255.253"
	secondThere     = "10.213.255.254"
)

// nodeReady is how long a node may take to be Ready.
const nodeReady = 2 * time.Minute

// secondNode is an agent in a network namespace of its own on this host.
type secondNode struct {
	settings *settings
	dir      string
	agent    *exec.Cmd
	ended    chan error
}

func newSecondNode(s *settings) *secondNode {
	return &secondNode{settings: s, dir: s.data + "-2"}
}

func (n *secondNode) data() string      { return filepath.Join(n.dir, "data") }
func (n *secondNode) namespace() string { return filepath.Join(n.dir, "network") }

// join makes the namespace, gives the node the images, starts the agent and waits for the node.
func (n *secondNode) join(ctx context.Context, archives []string, kubeconfig string) error {
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return err
	}
	if err := n.network(ctx); err != nil {
		return err
	}
	for _, archive := range archives {
		if _, err := n.settings.timonier(ctx, n.data(), "image", "import", archive); err != nil {
			return err
		}
	}
	line, err := n.settings.timonier(ctx, n.settings.data, "token")
	if err != nil {
		return err
	}
	words := strings.Fields(line)
	if len(words) < 2 || words[0] != "timonier" || words[1] != "agent" {
		return fmt.Errorf("timonier token printed %q", line)
	}
	if err := n.start(words[1:]); err != nil {
		return err
	}
	return n.wait(ctx, kubeconfig)
}

// start runs `timonier agent` in the background.
func (n *secondNode) start(args []string) error {
	log, err := os.Create(filepath.Join(n.dir, "agent.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	args = append(args, "--name", secondName, "--netns", n.namespace(), "--data-dir", n.data())
	n.agent = exec.Command(n.settings.bin, args...)
	n.agent.Stdout, n.agent.Stderr = log, log
	n.agent.Env = append(os.Environ(), "HOME="+filepath.Join(n.settings.cache, "home"))
	// A terminal's Ctrl-C is for us alone; we end the agent when the tests have ended.
	n.agent.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := n.agent.Start(); err != nil {
		n.agent = nil
		return err
	}
	n.ended = make(chan error, 1)
	go func() { n.ended <- n.agent.Wait() }()
	return nil
}

// wait waits until the node is Ready.
func (n *secondNode) wait(ctx context.Context, kubeconfig string) error {
	ctx, cancel := context.WithTimeout(ctx, nodeReady)
	defer cancel()
	kubectl := filepath.Join(n.settings.tools, "kubectl")
	for {
		_, problem := output(ctx, kubectl, "--kubeconfig", kubeconfig, "wait", "--for=condition=Ready",
			"node/"+secondName, "--timeout=5s")
		if problem == nil {
			return nil
		}
		select {
		case err := <-n.ended:
			n.agent = nil
			log, _ := os.ReadFile(filepath.Join(n.dir, "agent.log"))
			return fmt.Errorf("the agent of the second node ended: %v\n%s", err, log)
		case <-ctx.Done():
			return fmt.Errorf("the second node is not Ready: %w", problem)
		case <-time.After(time.Second):
		}
	}
}

// network makes the namespace and the way between it and the host.
func (n *secondNode) network(ctx context.Context) error {
	file, err := os.Create(n.namespace())
	if err != nil {
		return err
	}
	file.Close()
	name := n.namespace()
	for _, line := range []string{
		"unshare --net=" + name + " true",
		"ip link add " + secondInterface + " type veth peer name uplink netns " + name,
		"ip address add " + secondHere + "/30 dev " + secondInterface,
		"ip link set " + secondInterface + " up",
		"nsenter --net=" + name + " ip link set lo up",
		"nsenter --net=" + name + " ip address add " + secondThere + "/30 dev uplink",
		"nsenter --net=" + name + " ip link set uplink up",
		"nsenter --net=" + name + " ip route add default via " + secondHere,
	} {
		words := strings.Fields(line)
		if out, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", line, err, out)
		}
	}
	return nil
}

// remove takes everything of the node off the host, also what an earlier run left.
func (n *secondNode) remove(ctx context.Context) error {
	if n.agent != nil {
		n.agent.Process.Signal(syscall.SIGTERM)
		select {
		case <-n.ended:
		case <-time.After(30 * time.Second):
			n.agent.Process.Kill()
			<-n.ended
		}
		n.agent = nil
	}
	if _, err := os.Stat(n.dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if _, err := os.Stat(n.data()); err == nil {
		if _, err := n.settings.timonier(ctx, n.data(), "reset"); err != nil {
			return err
		}
	}
	// An earlier run may have ended before it made these.
	exec.CommandContext(ctx, "ip", "link", "delete", secondInterface).Run()
	syscall.Unmount(n.namespace(), syscall.MNT_DETACH)
	return os.RemoveAll(n.dir)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// errNoAgent says why the cluster has one node only.
var errNoAgent = errors.New("timonier agent is not there yet")

// cluster is the run's own cluster, and how to end it.
type cluster struct {
	settings *settings
	nodes    int
}

// startCluster starts from nothing: what an earlier run left behind is reset first.
func startCluster(ctx context.Context, s *settings, archives []string) (*cluster, error) {
	c := &cluster{settings: s}
	if err := c.reset(ctx); err != nil {
		return nil, err
	}
	for _, archive := range archives {
		if _, err := s.timonier(ctx, s.data, "image", "import", archive); err != nil {
			return nil, err
		}
	}
	if _, err := s.timonier(ctx, s.data, "up", "--name", clusterName); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	c.nodes = 1
	switch err := c.addSecondNode(ctx); {
	case errors.Is(err, errNoAgent):
		fmt.Println("one node only:", err)
	case err != nil:
		return nil, errors.Join(err, c.stop())
	default:
		c.nodes++
	}
	return c, nil
}

// addSecondNode joins a node that runs in a network namespace of its own on this host.
func (c *cluster) addSecondNode(context.Context) error {
	return errNoAgent
}

func (c *cluster) kubeconfig() string {
	return filepath.Join(c.settings.data, "admin.kubeconfig")
}

// stop takes the cluster off the host and deletes its data, also after an interruption.
func (c *cluster) stop() error {
	if c.settings.keep {
		fmt.Println("the cluster is left running; its kubeconfig is", c.kubeconfig())
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	return c.reset(ctx)
}

func (c *cluster) reset(ctx context.Context) error {
	if _, err := os.Stat(c.settings.data); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	_, err := c.settings.timonier(ctx, c.settings.data, "reset", "--name", clusterName)
	return err
}

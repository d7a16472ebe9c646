package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// cluster is the run's own cluster, and how to end it.
type cluster struct {
	settings *settings
	second   *secondNode
	nodes    int
}

// startCluster starts from nothing: what an earlier run left behind is reset first.
func startCluster(ctx context.Context, s *settings, archives []string) (*cluster, error) {
	c := &cluster{settings: s, second: newSecondNode(s)}
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
	if os.Getenv("NODES") == "1" {
		fmt.Println("one node only, because of NODES=1")
		return c, nil
	}
	if err := c.second.join(ctx, archives, c.kubeconfig()); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	c.nodes++
	return c, nil
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
	err := c.second.remove(ctx)
	if _, missing := os.Stat(c.settings.data); errors.Is(missing, os.ErrNotExist) {
		return err
	}
	_, problem := c.settings.timonier(ctx, c.settings.data, "reset", "--name", clusterName)
	return errors.Join(err, problem)
}

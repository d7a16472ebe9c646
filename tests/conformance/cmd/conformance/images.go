package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// image is one directory of images/: a Dockerfile and the list `parts` of what its context holds.
type image struct {
	name     string
	dir      string
	tags     []string
	packages []string // Debian packages, with all that they need
	only     []string // Debian packages and nothing else
	programs [][2]string
	files    [][3]string // name in the context, module, path in the module
}

// buildImages builds the images that the cache does not have, and returns the archives. Without
// names it is about all images.
func buildImages(ctx context.Context, s *settings, names ...string) ([]string, error) {
	images, err := readImages(filepath.Join(s.module, "images"))
	if err != nil {
		return nil, err
	}
	archives := filepath.Join(s.cache, "images")
	if err := os.MkdirAll(archives, 0o755); err != nil {
		return nil, err
	}
	var paths []string
	for _, image := range images {
		if len(names) > 0 && !slices.Contains(names, image.name) {
			continue
		}
		sum, err := image.digest(s)
		if err != nil {
			return nil, err
		}
		archive := filepath.Join(archives, image.name+"-"+sum+".tar")
		if _, err := os.Stat(archive); err != nil {
			fmt.Println("building the image", strings.Join(image.tags, " "))
			if err := image.build(ctx, s, archive); err != nil {
				return nil, fmt.Errorf("image %s: %w", image.name, err)
			}
		}
		paths = append(paths, archive)
	}
	return paths, nil
}

func readImages(dir string) ([]image, error) {
	lists, err := filepath.Glob(filepath.Join(dir, "*", "parts"))
	if err != nil {
		return nil, err
	}
	sort.Strings(lists)
	var images []image
	for _, list := range lists {
		image, err := readImage(list)
		if err != nil {
			return nil, err
		}
		images = append(images, image)
	}
	return images, nil
}

func readImage(list string) (image, error) {
	dir := filepath.Dir(list)
	result := image{name: filepath.Base(dir), dir: dir}
	file, err := os.Open(list)
	if err != nil {
		return result, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch {
		case len(words) == 0:
		case words[0] == "tag" && len(words) == 2:
			result.tags = append(result.tags, words[1])
		case words[0] == "packages":
			result.packages = append(result.packages, words[1:]...)
		case words[0] == "only":
			result.only = append(result.only, words[1:]...)
		case words[0] == "program" && len(words) == 3:
			result.programs = append(result.programs, [2]string{words[1], words[2]})
		case words[0] == "file" && len(words) == 4:
			result.files = append(result.files, [3]string{words[1], words[2], words[3]})
		default:
			return result, fmt.Errorf("%s: cannot read the line %q", list, lines.Text())
		}
	}
	return result, lines.Err()
}

// digest is over all that the image is made of but the packages' contents: a newer package alone
// builds nothing anew.
func (i image) digest(s *settings) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, s.version)
	entries, err := os.ReadDir(i.dir)
	if err != nil {
		return "", err
	}
	paths := []string{s.rootfsScript()}
	for _, entry := range entries {
		paths = append(paths, filepath.Join(i.dir, entry.Name()))
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(sum, filepath.Base(path), len(content))
		sum.Write(content)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))[:16], nil
}

func (s *settings) rootfsScript() string {
	return filepath.Join(s.module, "..", "images", "debian-rootfs")
}

func (i image) build(ctx context.Context, s *settings, archive string) error {
	scratch, err := os.MkdirTemp(s.cache, "context-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	if err := i.fill(ctx, s, scratch); err != nil {
		return err
	}
	store := filepath.Join(s.cache, "builder")
	args := []string{"build", scratch}
	for _, tag := range i.tags {
		args = append(args, "-t", tag)
	}
	if _, err := s.timonier(ctx, store, args...); err != nil {
		return err
	}
	partial := archive + ".partial"
	args = append([]string{"image", "save", "-o", partial}, i.tags...)
	if _, err := s.timonier(ctx, store, args...); err != nil {
		return err
	}
	return os.Rename(partial, archive)
}

// fill puts everything that the Dockerfile copies into the context.
func (i image) fill(ctx context.Context, s *settings, scratch string) error {
	entries, err := os.ReadDir(i.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := copyFile(filepath.Join(i.dir, entry.Name()), filepath.Join(scratch, entry.Name())); err != nil {
			return err
		}
	}
	for _, program := range i.programs {
		if err := s.program(ctx, program[1], filepath.Join(scratch, program[0])); err != nil {
			return err
		}
	}
	for _, file := range i.files {
		dir, err := s.goOutput(ctx, "list", "-m", "-f", "{{.Dir}}", file[1])
		if err != nil {
			return err
		}
		if err := copyFile(filepath.Join(strings.TrimSpace(dir), file[2]), filepath.Join(scratch, file[0])); err != nil {
			return err
		}
	}
	if len(i.packages)+len(i.only) == 0 {
		return nil
	}
	args := []string{filepath.Join(scratch, "rootfs.tar")}
	if len(i.only) > 0 {
		args = append([]string{"--only"}, args...)
	}
	command := exec.CommandContext(ctx, s.rootfsScript(), append(append(args, i.packages...), i.only...)...)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("debian-rootfs: %w\n%s", err, out)
	}
	return nil
}

// program builds a Go program and keeps it for the other images.
func (s *settings) program(ctx context.Context, pkg, target string) error {
	kept := filepath.Join(s.cache, "programs-"+s.version, strings.ReplaceAll(pkg, "/", "_"))
	if _, err := os.Stat(kept); err != nil {
		if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
			return err
		}
		if err := s.goBuild(ctx, kept, "build", "-p", "2", "-ldflags", "-s -w", pkg); err != nil {
			return err
		}
	}
	return copyFile(kept, target)
}

func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	target, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm()|0o200)
	if err != nil {
		return err
	}
	if _, err := io.Copy(target, source); err != nil {
		target.Close()
		return err
	}
	return target.Close()
}

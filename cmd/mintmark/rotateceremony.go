package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"mintmark/admin"
)

// ceremonyInput is what a file beside a ceremony may be called: names come from a server,
// and none leads out of the folder or hides in it.
var ceremonyInput = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// takeCeremony writes the file of the ceremony that a rotation waits for, and beside it
// the files that it names.
func (a *app) takeCeremony(s admin.RotationStatus, file string) error {
	if file == "" || s.Waiting == nil {
		return nil
	}
	if s.Waiting.Ceremony == "" {
		return fmt.Errorf("there is no ceremony for this: %s", s.Waiting.What)
	}
	names := slices.Sorted(maps.Keys(s.Waiting.Inputs))
	for _, name := range names {
		if !ceremonyInput.MatchString(name) || name == filepath.Base(file) {
			return fmt.Errorf("the server calls a file of the ceremony %q: nothing was written", name)
		}
	}
	for _, name := range names {
		if err := a.putBeside(filepath.Join(filepath.Dir(file), name), s.Waiting.Inputs[name]); err != nil {
			return err
		}
	}
	if err := a.putBeside(file, []byte(s.Waiting.Ceremony)); err != nil {
		return err
	}
	a.say("wrote %s and %s beside it: read it, put right where the keys are, try it with mintmark ceremony check, and take all of them there", file, plural(len(names), "file"))
	return nil
}

// putBeside writes a file that is not there, or is there as it is.
func (a *app) putBeside(name string, content []byte) error {
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return replaceFile(name, content, 0o644)
	}
	if err != nil {
		return err
	}
	if info.Mode().IsRegular() {
		if before, err := readFile(name, maxPEM); err == nil && bytes.Equal(before, content) {
			return nil
		}
	}
	return fmt.Errorf("%s exists, and is another file: choose a folder of its own for the ceremony", name)
}

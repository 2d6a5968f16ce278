package edge

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Write writes the files of a configuration into a directory, which it makes if it is not
// there and refuses if anything is in it. It returns the files, with their names as paths.
// If it fails, it leaves nothing behind.
func Write(dir string, c Config) (files []File, err error) {
	list, err := Files(c)
	if err != nil {
		return nil, err
	}
	made := false
	switch err := os.Mkdir(dir, 0o755); {
	case err == nil:
		made = true
	case !errors.Is(err, fs.ErrExist):
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("%s is not empty: nothing is overwritten, name another directory", dir)
	}
	defer func() {
		if err == nil {
			return
		}
		for _, f := range files {
			os.Remove(f.Name)
		}
		if made {
			os.Remove(dir)
		}
		files = nil
	}()
	for _, f := range list {
		f.Name = filepath.Join(dir, f.Name)
		if err := writeNew(f.Name, f.Data, f.Mode); err != nil {
			return files, err
		}
		files = append(files, f)
	}
	return files, nil
}

// writeNew writes a file that must not be there, also not as a link.
func writeNew(name string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(mode) // whatever the umask
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(name)
	}
	return err
}

package ceremony

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Bounds of a folder that is verified.
const (
	maxFiles  = 512
	maxRecord = 64 << 20 // the journal has what was signed
)

// folder is the folder of a ceremony that runs.
type folder struct {
	dir string
}

// newFolder makes the folder, which must not exist.
func newFolder(dir string) (*folder, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of the ceremony: %w", err)
	}
	for _, sub := range []string{folderInputs, folderOutputs} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("making the folder of the ceremony: %w", err)
		}
	}
	for _, made := range []string{dir, filepath.Dir(filepath.Clean(dir))} {
		if err := syncDir(made); err != nil {
			return nil, err
		}
	}
	return &folder{dir: dir}, nil
}

// create makes a new file, open for writing.
func (f *folder) create(name string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(f.dir, filepath.FromSlash(name)), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("making a file of the ceremony: %w", err)
	}
	return file, nil
}

// write makes a new file with that content, durably.
func (f *folder) write(name string, data []byte) error {
	if parent := path.Dir(strings.TrimPrefix(name, folderInputs)); strings.HasPrefix(name, folderInputs) && parent != "." {
		if err := os.MkdirAll(filepath.Join(f.dir, folderInputs, filepath.FromSlash(parent)), 0o755); err != nil {
			return fmt.Errorf("making a folder of the ceremony: %w", err)
		}
	}
	file, err := f.create(name)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if e := file.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return syncDir(filepath.Dir(filepath.Join(f.dir, filepath.FromSlash(name))))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if e := d.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	return nil
}

// readFolder reads all files of a folder that Run has left, by their names with
// slashes. What is no regular file, or too large, is a finding.
func readFolder(dir string) (files map[string][]byte, findings []string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	files = map[string][]byte{}
	total := int64(0)
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if strings.Count(name, "/") > 6 {
				return fmt.Errorf("folders are nested too deep: %s", name)
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			findings = append(findings, fmt.Sprintf("%s is not a regular file", name))
			return nil
		}
		if total += info.Size(); len(files) == maxFiles || total > 2*maxRecord || info.Size() > maxRecord {
			return fmt.Errorf("%s: the folder is larger than one of a ceremony", name)
		}
		data, err := root.ReadFile(name)
		if err != nil {
			return err
		}
		files[name] = data
		return nil
	})
	return files, findings, err
}

package render

import (
	"fmt"
	"os"
	"path/filepath"
)

// Write puts files into a directory, which is made if it is not there. Files of
// an earlier run are replaced; others are left.
func Write(dir string, files []File) error {
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("writing %s: %w", f.Name, err)
		}
		mode := os.FileMode(0o644)
		if f.Script {
			mode = 0o755
		}
		if err := os.WriteFile(path, f.Content, mode); err != nil {
			return fmt.Errorf("writing %s: %w", f.Name, err)
		}
		if err := os.Chmod(path, mode); err != nil { // of a file that was there
			return fmt.Errorf("writing %s: %w", f.Name, err)
		}
	}
	return nil
}

// Command zip puts files into a zip archive that is the same for the same
// contents: executable, without dates or paths. Debian has no zip by default.
package main

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "zip: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: zip ARCHIVE FILE")
	}
	out, err := os.Create(args[0])
	if err != nil {
		return err
	}
	defer out.Close()
	archive := zip.NewWriter(out)
	for _, name := range args[1:] {
		in, err := os.Open(name)
		if err != nil {
			return err
		}
		header := &zip.FileHeader{Name: filepath.Base(name), Method: zip.Deflate}
		header.SetMode(0o755)
		w, err := archive.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := io.Copy(w, in); err != nil {
			return err
		}
		in.Close()
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return out.Close()
}

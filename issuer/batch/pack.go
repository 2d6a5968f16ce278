package batch

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"mintmark/internal/cms"
)

// put writes the files of a part into the delivery under temporary names, and returns what
// gives them their own: everything is on disk before any has its name.
func (s *shipment) put(delivery string) (files []file, settled func() error, err error) {
	list, passwords, err := s.members()
	if err != nil {
		return nil, nil, err
	}
	names, err := s.public()
	if err != nil {
		return nil, nil, err
	}
	w := writer{delivery: delivery}
	base := partName(s.part)
	mode := os.FileMode(0o644)
	if s.plan.KeyType != "" && len(s.plan.Recipient) == 0 {
		mode = 0o600 // keys as they are
	}
	switch {
	case s.plan.Format == NDJSON:
		w.sealed(base+".ndjson", list[0].content, mode, s.plan.Recipient)
	case s.plan.Pack == Folder:
		w.folder(base, list, mode)
	default:
		content, err := archive(list, s.plan.Created)
		if err != nil {
			return nil, nil, err
		}
		w.sealed(base+".zip", content, mode, s.plan.Recipient)
	}
	if passwords != nil {
		w.sealed(base+".passwords.csv", passwords, 0o600, s.plan.Recipient)
	}
	w.file(base+certificatesList, names, 0o644)
	return w.files, w.settle, w.err
}

// partName is how the files of a part begin, and certificatesList how the one ends that
// lists its certificates.
func partName(part int) string { return fmt.Sprintf("part-%04d", part) }

const certificatesList = ".certificates.ndjson"

// archive puts files into a ZIP, dated and as they are: what is encrypted is not for compressing, and
// keys do not compress.
func archive(list []member, at time.Time) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, m := range list {
		header := &zip.FileHeader{Name: m.name, Method: zip.Store, Modified: at}
		header.SetMode(0o600)
		w, err := z.CreateHeader(header)
		if err == nil {
			_, err = w.Write(m.content)
		}
		if err != nil {
			return nil, fmt.Errorf("packing %s: %w", m.name, err)
		}
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("packing: %w", err)
	}
	return b.Bytes(), nil
}

// writer writes files under temporary names, and remembers the first error.
type writer struct {
	delivery string
	files    []file
	names    []string // below delivery, of files and folders
	err      error
}

// sealed writes a file, for the recipient if there is one.
func (w *writer) sealed(name string, content []byte, mode os.FileMode, recipient []byte) {
	if len(recipient) == 0 {
		w.file(name, content, mode)
		return
	}
	r, err := recipientOf(recipient)
	if err == nil {
		content, err = cms.Encrypt(cms.Data, content, r)
	}
	if err != nil {
		w.err = errors.Join(w.err, err)
		return
	}
	w.file(name+".p7m", content, 0o644)
}

func (w *writer) file(name string, content []byte, mode os.FileMode) {
	if w.err != nil {
		return
	}
	if w.err = write(filepath.Join(w.delivery, temporary+name), content, mode); w.err == nil {
		w.names = append(w.names, name)
		w.files = append(w.files, file{name, int64(len(content)), hashOf(content)})
	}
}

// folder writes files into a folder of their own.
func (w *writer) folder(name string, list []member, mode os.FileMode) {
	if w.err != nil {
		return
	}
	within := filepath.Join(w.delivery, temporary+name)
	w.err = os.RemoveAll(within)
	folders := map[string]bool{within: true}
	for _, m := range list {
		at := filepath.Join(within, filepath.FromSlash(m.name))
		folders[filepath.Dir(at)] = true
		if w.err == nil {
			w.err = os.MkdirAll(filepath.Dir(at), 0o755)
		}
		if w.err == nil {
			w.err = write(at, m.content, mode)
		}
		w.files = append(w.files, file{name + "/" + m.name, int64(len(m.content)), hashOf(m.content)})
	}
	for folder := range folders {
		if w.err == nil {
			w.err = syncFolder(folder)
		}
	}
	w.names = append(w.names, name)
}

// settle gives what was written its names. What an earlier run that was cut off has left
// under them goes: it is in no journal.
func (w *writer) settle() error {
	for _, name := range w.names {
		at := filepath.Join(w.delivery, name)
		if info, err := os.Lstat(at); err == nil && info.IsDir() {
			if err := os.RemoveAll(at); err != nil {
				return err
			}
		}
		if err := os.Rename(filepath.Join(w.delivery, temporary+name), at); err != nil {
			return err
		}
	}
	return syncFolder(w.delivery)
}

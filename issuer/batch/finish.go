package batch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Files of a delivery, beside those of its parts and the lists for clouds.
const (
	RootFile      = "root.pem"
	ManifestFile  = "manifest.ndjson"
	SignatureFile = "manifest.p7s" // detached CMS over ManifestFile, DER
)

// List is a file for a cloud: what is in it of each device.
type List struct {
	Name string // in the folder of the delivery
	// Add returns what the file has for a device, and End what it has after the last one; End
	// may be nil.
	Add func(Listed) ([]byte, error)
	End func() ([]byte, error)
	// Beside is another file that goes with it, by its name; empty for none.
	Beside string
	With   []byte
}

// finish puts the delivery together, has its manifest signed, and lets go of the keys that
// nothing needs any more. It does the same again after it was cut off.
func (r *run) finish(ctx context.Context) error {
	if r.spool != nil {
		if err := r.tidy(); err != nil {
			return err
		}
	}
	if err := r.writeRefused(); err != nil {
		return err
	}
	if issued, _ := r.state.issued(); issued > 0 {
		if err := r.deliver(ctx); err != nil {
			return err
		}
	}
	if r.Plan.KeyType == "" || len(r.state.refused) > 0 || r.state.unasked() > 0 {
		return nil
	}
	return (&spool{dir: r.dir}).end()
}

// tidy leaves in the spool the keys of those devices that may be asked for again.
func (r *run) tidy() error {
	for _, p := range r.state.parts {
		items, keys, err := r.spool.get(p.number)
		if err != nil {
			return err
		}
		if keys == nil {
			continue
		}
		var keep []int
		for _, n := range items {
			if _, again := r.state.refused[n]; again {
				keep = append(keep, n)
			}
		}
		if len(keep) < len(items) {
			if err := r.spool.shrink(p.number, items, keys, keep); err != nil {
				return err
			}
		}
	}
	return nil
}

// RefusedFile lists, beside the delivery, who got no certificate and why.
const RefusedFile = "refused.ndjson"

func (r *run) writeRefused() error {
	name := filepath.Join(r.dir, RefusedFile)
	if len(r.state.refused) == 0 {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	for n := range r.items.len() {
		one, ok := r.state.refused[n]
		if !ok {
			continue
		}
		item, err := r.items.get(n)
		if err != nil {
			return err
		}
		if err := encoder.Encode(Refused{item.Name, one.Rule, one.Text}); err != nil {
			return err
		}
	}
	return replace(name, b.Bytes(), 0o644)
}

// Refused is a line of RefusedFile.
type Refused struct {
	Device string `json:"device"`
	Rule   string `json:"rule"`
	Text   string `json:"text"`
}

// deliver writes what goes beside the parts, and the manifest over all of it.
func (r *run) deliver(ctx context.Context) error {
	files, err := r.dropStrangers()
	if err != nil {
		return err
	}
	w := writer{delivery: filepath.Join(r.dir, Delivery)}
	w.file(RootFile, pemOf("CERTIFICATE", r.root.Raw), 0o644)
	content, count, err := r.certificates(&w)
	if err != nil {
		return err
	}
	if w.err != nil {
		return w.err
	}
	files = append(files, w.files...)
	header, err := json.Marshal(Header{
		Manifest: manifestVersion, Batch: r.Plan.ID, Profile: r.Plan.Profile, Issuer: r.Plan.Issuer, Order: r.Plan.Order,
		Created: r.Plan.Created, Files: len(files), Devices: count,
	})
	if err != nil {
		return err
	}
	var manifest bytes.Buffer
	manifest.Write(append(header, '\n'))
	encoder := json.NewEncoder(&manifest)
	for _, f := range files {
		if err := encoder.Encode(Entry{File: f.Name, Size: f.Size, SHA256: f.SHA256}); err != nil {
			return err
		}
	}
	manifest.Write(content)
	sum := sha256.Sum256(manifest.Bytes())
	if hex.EncodeToString(sum[:]) == r.state.manifest && w.has(ManifestFile, manifest.Bytes()) && w.has(SignatureFile, nil) {
		r.signed = true
		return w.settle() // the same as it was
	}
	signature, err := r.sign(ctx, manifest.Bytes())
	if err != nil {
		return err
	}
	r.did("signed")
	w.file(ManifestFile, manifest.Bytes(), 0o644)
	w.file(SignatureFile, signature, 0o644)
	if w.err != nil {
		return w.err
	}
	if err := w.settle(); err != nil {
		return err
	}
	r.did("delivered")
	last := record{Manifest: hex.EncodeToString(sum[:])}
	if err := r.journal.add(last); err != nil {
		return err
	}
	r.signed = true
	return r.state.take(last, r.items.len())
}

// dropStrangers returns the files of all parts, and removes what runs that were cut off have
// left of others.
func (r *run) dropStrangers() ([]file, error) {
	var files []file
	known := make(map[string]bool)
	for _, p := range r.state.parts {
		for _, f := range p.record.Files {
			top, _, _ := strings.Cut(f.Name, "/")
			known[top] = true
			files = append(files, f)
		}
	}
	list, err := os.ReadDir(filepath.Join(r.dir, Delivery))
	if err != nil {
		return nil, err
	}
	for _, one := range list {
		if strings.HasPrefix(one.Name(), "part-") && !known[one.Name()] {
			if err := os.RemoveAll(filepath.Join(r.dir, Delivery, one.Name())); err != nil {
				return nil, err
			}
		}
	}
	return files, nil
}

// certificates reads the lists of all parts again, and returns their lines of the manifest.
// On the way the files for clouds are written.
func (r *run) certificates(w *writer) (manifest []byte, count int, err error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	lists := make([]*os.File, len(r.options.Lists))
	defer func() {
		for _, f := range lists {
			if f != nil {
				f.Close()
			}
		}
	}()
	for i, l := range r.options.Lists {
		if lists[i], err = os.OpenFile(filepath.Join(w.delivery, temporary+l.Name), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644); err != nil {
			return nil, 0, err
		}
	}
	for _, p := range r.state.parts {
		if p.record.Issued == 0 {
			continue
		}
		if known, ok := r.entries[p.number]; ok && len(lists) == 0 {
			b.Write(known)
			count += p.record.Issued
			continue
		}
		err := eachListed(filepath.Join(w.delivery, partName(p.number)+certificatesList), func(one Listed) error {
			count++
			for i, l := range r.options.Lists {
				line, err := l.Add(one)
				if err == nil && len(line) > 0 {
					_, err = lists[i].Write(line)
				}
				if err != nil {
					return fmt.Errorf("%s: %w", l.Name, err)
				}
			}
			return encoder.Encode(Entry{Device: one.Device, Serial: serialOf(one.Certificate), Part: p.number, SHA256: hashOf(one.Certificate.Raw)})
		})
		if err != nil {
			return nil, 0, err
		}
	}
	for i, l := range r.options.Lists {
		if err := w.list(l, lists[i]); err != nil {
			return nil, 0, fmt.Errorf("%s: %w", l.Name, err)
		}
	}
	return b.Bytes(), count, nil
}

// list ends the file of a list.
func (w *writer) list(l List, f *os.File) error {
	if l.End != nil {
		end, err := l.End()
		if err != nil {
			return err
		}
		if _, err := f.Write(end); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	size, sum, err := hashFile(f.Name())
	if err != nil {
		return err
	}
	w.names = append(w.names, l.Name)
	w.files = append(w.files, file{l.Name, size, sum})
	if l.Beside != "" {
		w.file(l.Beside, l.With, 0o644)
	}
	return w.err
}

// has reports whether the delivery has a file, with that content unless it is nil.
func (w *writer) has(name string, content []byte) bool {
	found, err := readBounded(filepath.Join(w.delivery, name), maxManifest)
	return err == nil && (content == nil || bytes.Equal(found, content))
}

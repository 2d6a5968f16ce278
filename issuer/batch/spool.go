package batch

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
)

// spool keeps the keys of a part until what it makes of them is in the delivery: sealed with
// AES-256-GCM, by a key beside it that only the owner of the folder may read and that goes
// when nothing needs it any more. A key that a request may have named is never made anew:
// the certificate that it has would be worth nothing.
type spool struct {
	dir  string
	id   string
	aead cipher.AEAD

	mu    sync.Mutex
	first map[int]pair // of what was refused before this run; nil before it was read
}

// pair is a key of a device.
type pair struct {
	Private []byte `json:"private"` // PKCS #8
	Public  []byte `json:"public"`  // SubjectPublicKeyInfo
}

// sealed is what a file of the spool holds.
type sealed struct {
	Items []int  `json:"items"`
	Keys  []pair `json:"keys"`
}

// openSpool opens the spool of a batch, and makes its key if there is none.
func openSpool(dir, id string) (*spool, error) {
	s := &spool{dir: dir, id: id}
	if err := os.MkdirAll(filepath.Join(dir, spoolFolder), 0o700); err != nil {
		return nil, err
	}
	if err := sweep(filepath.Join(dir, spoolFolder)); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, keyFile)
	key, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		// Without it, what may lie in the spool is lost, and must not be made anew.
		left, err := os.ReadDir(filepath.Join(dir, spoolFolder))
		if err != nil {
			return nil, err
		}
		if len(left) > 0 {
			return nil, fmt.Errorf("%s is gone, and with it the keys in %s: restore it", name, filepath.Join(dir, spoolFolder))
		}
		key = make([]byte, 32)
		rand.Read(key)
		if err := replace(name, key, 0o600); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	if len(key) != 32 {
		return nil, fmt.Errorf("%s is no key of a spool: it measures %d bytes in place of 32", name, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	s.aead, err = cipher.NewGCMWithRandomNonce(block)
	return s, err
}

func (s *spool) name(part int) string {
	return filepath.Join(s.dir, spoolFolder, fmt.Sprintf("%04d", part))
}

func (s *spool) bound(part int) []byte {
	return fmt.Appendf(nil, "mintmark batch %s part %d", s.id, part)
}

// put seals the keys of a part; when it returns, they are on disk.
func (s *spool) put(part int, items []int, keys []pair) error {
	content, err := json.Marshal(sealed{items, keys})
	if err != nil {
		return err
	}
	defer clear(content)
	return replace(s.name(part), s.aead.Seal(nil, nil, content, s.bound(part)), 0o600)
}

// get opens the keys of a part; nil if there are none.
func (s *spool) get(part int) (items []int, keys []pair, err error) {
	content, err := os.ReadFile(s.name(part))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the sealed keys of part %d: %w", part, err)
	}
	plain, err := s.aead.Open(nil, nil, content, s.bound(part))
	if err != nil {
		return nil, nil, fmt.Errorf("the sealed keys of part %d in %s cannot be opened: the file or %s was changed", part, s.name(part), keyFile)
	}
	defer clear(plain)
	var in sealed
	if err := json.Unmarshal(plain, &in); err != nil || len(in.Items) != len(in.Keys) {
		return nil, nil, fmt.Errorf("the sealed keys of part %d cannot be read", part)
	}
	return in.Items, in.Keys, nil
}

// shrink leaves in the spool of a part the keys of the items that were refused, and nothing
// if there are none: what is asked for again must have the key that was asked for.
func (s *spool) shrink(part int, items []int, keys []pair, keep []int) error {
	var left []pair
	var which []int
	for i, n := range items {
		if slices.Contains(keep, n) {
			which, left = append(which, n), append(left, keys[i])
		}
	}
	if len(which) > 0 {
		return s.put(part, which, left)
	}
	if err := os.Remove(s.name(part)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// held finds the keys of items that were refused, in the spools of all parts. Those are
// read once: a run asks for an item once, and so needs none that it refused itself.
func (s *spool) held(wanted []int) (map[int]pair, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first == nil {
		files, err := os.ReadDir(filepath.Join(s.dir, spoolFolder))
		if err != nil {
			return nil, err
		}
		all := make(map[int]pair)
		for _, file := range files {
			part, err := strconv.Atoi(file.Name())
			if err != nil {
				continue // being written
			}
			items, keys, err := s.get(part)
			if err != nil {
				return nil, err
			}
			for i, n := range items {
				all[n] = keys[i]
			}
		}
		s.first = all
	}
	found := make(map[int]pair)
	for _, n := range wanted {
		if key, ok := s.first[n]; ok {
			found[n] = key
		}
	}
	return found, nil
}

// end removes the spool and its key.
func (s *spool) end() error {
	if err := os.RemoveAll(filepath.Join(s.dir, spoolFolder)); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(s.dir, keyFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncFolder(s.dir)
}

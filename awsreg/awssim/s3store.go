package awssim

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"mintmark/internal/pattern"
)

// Limits of the objects (S3 user guide, object-keys: 1024 bytes of UTF-8), and the
// simulator's own.
const (
	maxObjectKey = 1024
	maxObject    = 15 << 20 // bytes; the aws command sends more than 8 MiB in parts, which are not here
	maxObjects   = 50000    // in one bucket
	maxBuckets   = 100
)

var bucketName = pattern.New(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// objectStore is the buckets: directories whose files are the objects. A key's
// slashes are directories, and what could mean something else to a file system is
// escaped, see objectPath. Every access goes through os.Root, so that neither a key
// nor a symbolic link leads out of the bucket. Its methods may be called
// concurrently.
type objectStore struct {
	given map[string]string // Config.Buckets
	dir   string            // holds the other buckets, empty without a state directory
	limit int               // objects in one bucket

	mu     sync.RWMutex
	counts map[string]int // objects by bucket, of the buckets that were written to
}

func newObjectStore(cfg Config) *objectStore {
	s := &objectStore{given: cfg.Buckets, limit: maxObjects, counts: map[string]int{}}
	if cfg.StateDir != "" {
		s.dir = filepath.Join(cfg.StateDir, "s3")
	}
	return s
}

// object is what a listing says of an object.
type object struct {
	key      string
	size     int64
	modified time.Time
}

func s3Error(code string, status int, format string, args ...any) *apiError {
	return &apiError{code: code, status: status, message: fmt.Sprintf(format, args...)}
}

func noSuchBucket(name string) *apiError {
	return s3Error("NoSuchBucket", 404, "The specified bucket does not exist: %s", clip(name, 64))
}

func noSuchKey(key string) *apiError {
	return s3Error("NoSuchKey", 404, "The specified key does not exist: %s", clip(key, 200))
}

func checkBucketName(name string) error {
	if !bucketName.MatchString(name) || strings.Contains(name, "..") {
		return s3Error("InvalidBucketName", 400, "The specified bucket is not valid: %s", clip(name, 64))
	}
	return nil
}

// open opens the directory of a bucket for an account. The caller closes it.
func (s *objectStore) open(account, bucket string) (*os.Root, error) {
	if err := checkBucketName(bucket); err != nil {
		return nil, err
	}
	dir, ok := s.given[bucket]
	if !ok {
		if s.dir == "" {
			return nil, noSuchBucket(bucket)
		}
		dir = filepath.Join(s.dir, bucket)
	}
	root, err := os.OpenRoot(dir)
	if err == nil {
		if err := s.permit(account, bucket); err != nil {
			root.Close()
			return nil, err
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noSuchBucket(bucket)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the bucket %s: %w", bucket, err)
	}
	return root, nil
}

// create makes a bucket of an account in the state directory.
func (s *objectStore) create(account, bucket string) error {
	if err := checkBucketName(bucket); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	names, err := s.names()
	switch {
	case err != nil:
		return err
	case slices.Contains(names, bucket):
		if s.permit(account, bucket) != nil {
			return s3Error("BucketAlreadyExists", 409, "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.")
		}
		return s3Error("BucketAlreadyOwnedByYou", 409, "Your previous request to create the named bucket succeeded and you already own it.")
	case s.dir == "":
		return noOperation("a place for new buckets: it has no state directory")
	case len(names) >= maxBuckets:
		return s3Error("TooManyBuckets", 400, "You have attempted to create more buckets than allowed: the simulator holds at most %d", maxBuckets)
	}
	// The owner first: a bucket without one belongs to everybody.
	if err = s.setOwner(account, bucket); err == nil {
		err = os.MkdirAll(filepath.Join(s.dir, bucket), 0o700)
	}
	if err != nil {
		return fmt.Errorf("creating the bucket %s: %w", bucket, err)
	}
	return nil
}

// names lists the buckets of all accounts in order.
func (s *objectStore) names() ([]string, error) {
	out := []string{}
	for name := range s.given {
		out = append(out, name)
	}
	if s.dir != "" {
		entries, err := os.ReadDir(s.dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("listing the buckets: %w", err)
		}
		for _, e := range entries {
			if _, given := s.given[e.Name()]; e.IsDir() && !given && checkBucketName(e.Name()) == nil {
				out = append(out, e.Name())
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// put writes an object, if the condition lets it; nil is none. It is there as a whole or
// not at all.
func (s *objectStore) put(account, bucket, key string, data []byte, condition func(have []byte) error) error {
	name, err := objectPath(key)
	if err != nil {
		return err
	}
	if len(data) > maxObject {
		return s3Error("EntityTooLarge", 400, "Your proposed upload exceeds the maximum of this AWS simulator, %d bytes", maxObject)
	}
	root, err := s.open(account, bucket)
	if err != nil {
		return err
	}
	defer root.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	// S3 holds the keys "a" and "a/b" side by side; a folder cannot.
	info, err := root.Stat(name)
	if err == nil && info.IsDir() {
		return noOperation("an object whose key is the beginning of other keys: " + clip(key, 200))
	}
	fresh := err != nil
	if condition != nil {
		var have []byte
		if !fresh {
			if have, err = root.ReadFile(name); err != nil {
				return fmt.Errorf("reading the object: %w", err)
			}
			if have == nil {
				have = []byte{}
			}
		}
		if err := condition(have); err != nil {
			return err
		}
	}
	if fresh {
		if err := s.roomIn(root, bucket); err != nil {
			return err
		}
	}
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) || strings.Contains(err.Error(), "not a directory") {
			return noOperation("an object whose key begins with another object's key: " + clip(key, 200))
		}
		return fmt.Errorf("writing the object: %w", err)
	}
	var b [8]byte
	rand.Read(b[:])
	temporary := ".upload-" + hex.EncodeToString(b[:]) // no object's file begins with a dot
	if err := root.WriteFile(temporary, data, 0o600); err != nil {
		return fmt.Errorf("writing the object: %w", err)
	}
	if err := root.Rename(temporary, name); err != nil {
		root.Remove(temporary)
		return fmt.Errorf("writing the object: %w", err)
	}
	if fresh {
		s.counts[bucket]++
	}
	return nil
}

// roomIn refuses one more object in a full bucket. The files are counted once; what
// somebody puts there by hand afterwards is not seen. The caller holds s.mu.
func (s *objectStore) roomIn(root *os.Root, bucket string) error {
	if _, counted := s.counts[bucket]; !counted {
		n := 0
		err := fs.WalkDir(root.FS(), ".", func(_ string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				n++
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("counting the objects of the bucket %s: %w", bucket, err)
		}
		s.counts[bucket] = n
	}
	if s.counts[bucket] >= s.limit {
		return noOperation(fmt.Sprintf("buckets of more than %d objects", s.limit))
	}
	return nil
}

// get reads an object.
func (s *objectStore) get(account, bucket, key string) ([]byte, object, error) {
	name, err := objectPath(key)
	if err != nil {
		return nil, object{}, err
	}
	root, err := s.open(account, bucket)
	if err != nil {
		return nil, object{}, err
	}
	defer root.Close()
	s.mu.RLock()
	defer s.mu.RUnlock()
	f, err := root.Open(name)
	if err != nil {
		return nil, object{}, noSuchKey(key)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, object{}, noSuchKey(key)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxObject+1))
	if err != nil {
		return nil, object{}, fmt.Errorf("reading the object: %w", err)
	}
	if len(data) > maxObject {
		return nil, object{}, noOperation(fmt.Sprintf("objects of more than %d bytes", maxObject))
	}
	return data, object{key, int64(len(data)), info.ModTime()}, nil
}

// remove deletes an object. It succeeds for one that is not there, as S3 does, and
// takes directories away that are empty then.
func (s *objectStore) remove(account, bucket, key string) error {
	name, err := objectPath(key)
	if err != nil {
		return err
	}
	root, err := s.open(account, bucket)
	if err != nil {
		return err
	}
	defer root.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if info, err := root.Lstat(name); err != nil || info.IsDir() {
		return nil
	}
	if err := root.Remove(name); err != nil {
		return fmt.Errorf("deleting the object: %w", err)
	}
	if n := s.counts[bucket]; n > 0 {
		s.counts[bucket] = n - 1
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if root.Remove(dir) != nil { // not empty
			break
		}
	}
	return nil
}

// list lists the objects whose keys begin with prefix, in the order of their bytes.
func (s *objectStore) list(account, bucket, prefix string) ([]object, error) {
	root, err := s.open(account, bucket)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []object
	seen := 0
	err = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if seen++; seen > 2*s.limit {
			return noOperation(fmt.Sprintf("buckets of more than %d objects", s.limit))
		}
		if !e.Type().IsRegular() {
			return nil
		}
		key, ok := objectKey(name)
		if !ok || !strings.HasPrefix(key, prefix) {
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		out = append(out, object{key, info.Size(), info.ModTime()})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the bucket %s: %w", bucket, err)
	}
	slices.SortFunc(out, func(a, b object) int { return strings.Compare(a.key, b.key) })
	return out, nil
}

// readObject reads an object for another service of this world.
func (w *world) readObject(bucket, key string) ([]byte, error) {
	data, _, err := w.sim.objects.get(w.account.ID, bucket, key)
	return data, err
}

// writeObject writes an object for another service of this world.
func (w *world) writeObject(bucket, key string, data []byte) error {
	return w.sim.objects.put(w.account.ID, bucket, key, data, nil)
}

// checkBuckets checks the buckets of a configuration.
func checkBuckets(given map[string]string) error {
	for name, dir := range given {
		if err := checkBucketName(name); err != nil {
			return fmt.Errorf("bucket %q: want 3 to 63 lower-case letters, digits, dots or hyphens", name)
		}
		if st, err := os.Stat(dir); err != nil {
			return fmt.Errorf("bucket %q: %w", name, err)
		} else if !st.IsDir() {
			return fmt.Errorf("bucket %q: %s is not a directory", name, dir)
		}
	}
	return nil
}

package awssim

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// owners is the directory beside the buckets of the state directory that says whose
// they are: a file with an account id for each. No bucket can have its name.
const owners = ".owners"

// owner is the account that created a bucket. Buckets of the configuration, and
// directories that somebody put into the state directory, have none.
func (s *objectStore) owner(bucket string) (string, error) {
	if _, given := s.given[bucket]; given || s.dir == "" {
		return "", nil
	}
	id, err := os.ReadFile(filepath.Join(s.dir, owners, bucket))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(id), err
}

func (s *objectStore) setOwner(account, bucket string) error {
	if err := os.MkdirAll(filepath.Join(s.dir, owners), 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, owners, bucket), []byte(account), 0o600)
}

// permit refuses the buckets of other accounts: there are no bucket policies, and
// without one a bucket is private (S3 user guide, access-management). A bucket
// without an owner belongs to every account. The name of the bucket was checked.
func (s *objectStore) permit(account, bucket string) error {
	switch owner, err := s.owner(bucket); {
	case err != nil:
		return err
	case owner != "" && owner != account:
		return s3Error("AccessDenied", 403, "Access Denied")
	}
	return nil
}

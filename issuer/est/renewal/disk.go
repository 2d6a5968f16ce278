package renewal

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

func (f *Files) do(what string) error {
	if f.step == nil {
		return nil
	}
	return f.step(what)
}

// write writes a file whole or not at all, with owner and mode of the file that
// it is to replace, or the given mode if there is none.
func (f *Files) write(name string, content []byte, replaces string, mode os.FileMode) error {
	if err := f.do("write " + filepath.Base(name)); err != nil {
		return err
	}
	temporary, err := prepare(name, content, replaces, mode)
	if err != nil {
		return err
	}
	return f.rename(temporary, name)
}

// prepare writes what is to become a file, under another name, which it returns.
func prepare(name string, content []byte, replaces string, mode os.FileMode) (string, error) {
	// A name of its own: what a crash leaves is written over the next time.
	temporary := name + ".tmp"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = file.Write(content)
	if err == nil {
		err = resemble(file, replaces, mode)
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		os.Remove(temporary)
		return "", fmt.Errorf("writing %s: %w", name, err)
	}
	return temporary, nil
}

// writable says why what a renewal replaces could not be, with its owner, before a
// certificate is asked for.
func (f *Files) writable(rekey bool) error {
	replaced := []string{f.Certificate}
	if rekey && f.Signer == nil && !f.single() {
		replaced = append(replaced, f.Key)
	}
	for _, name := range replaced {
		temporary, err := prepare(name+suffix, nil, name, 0o600)
		if err == nil {
			err = os.Remove(temporary)
		}
		if err != nil {
			return fmt.Errorf("%s could not be replaced: %w", name, err)
		}
	}
	return nil
}

// resemble gives a file the owner and the mode of another, so that a service that
// could read the old one can read the new one.
func resemble(file *os.File, other string, mode os.FileMode) error {
	info, err := os.Stat(other)
	if errors.Is(err, fs.ErrNotExist) {
		return file.Chmod(mode)
	}
	if err != nil {
		return err
	}
	mine, err := file.Stat()
	if err != nil {
		return err
	}
	was, ok := info.Sys().(*syscall.Stat_t)
	is, same := mine.Sys().(*syscall.Stat_t)
	if ok && same && (was.Uid != is.Uid || was.Gid != is.Gid) {
		if err := file.Chown(int(was.Uid), int(was.Gid)); err != nil {
			return err
		}
	}
	return file.Chmod(info.Mode().Perm())
}

func (f *Files) rename(from, to string) error {
	if err := f.do("rename " + filepath.Base(from)); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDirectory(to)
}

func (f *Files) remove(name string) error {
	if err := f.do("remove " + filepath.Base(name)); err != nil {
		return err
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDirectory(name)
}

// syncDirectory makes a change of names durable.
func syncDirectory(name string) error {
	directory, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return !errors.Is(err, fs.ErrNotExist)
}

func read(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if len(content) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxFile)
	}
	return content, nil
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the key: %w", err)
	}
	defer clear(der)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// parseKey reads what encodeKey wrote.
func parseKey(content []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(content)
	if block == nil || block.Type != "PRIVATE KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("it does not hold one private key in PEM")
	}
	defer clear(block.Bytes)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the key cannot sign")
	}
	return signer, nil
}

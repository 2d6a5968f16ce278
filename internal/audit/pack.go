package audit

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

const (
	// packedSuffix follows the name of a file that is packed (gzip, RFC 1952). What is
	// inside is as it was written, so that the chain goes on through it.
	packedSuffix = ".gz"
	halfSuffix   = ".tmp"

	// plainFiles is how many of the newest files stay as they are: the one that is
	// written, and the one before it, which is read at every start.
	plainFiles = 2

	packChunk = 64 << 10 // read between two pauses
)

// Pack packs the files that are full, the oldest first, but for the last two, and returns
// when there is none left or ctx has ended. It reads at most rate bytes a second, so that
// issuance goes on beside it; 0 for any number. A packed file takes the place of the plain one
// only once it is durable and gives back the same bytes; until then, and after a crash, the
// plain one is read. It may run beside everything else, but only once at a time.
func (l *Log) Pack(ctx context.Context, rate int64) error {
	files, err := listFiles(l.dir)
	if err != nil {
		return err
	}
	for _, path := range files[:max(0, len(files)-plainFiles)] {
		if isPacked(path) {
			continue
		}
		if err := pack(ctx, path, rate); err != nil {
			return fmt.Errorf("packing issuance log: %w", err)
		}
	}
	return nil
}

// pack puts a packed file in the place of a plain one.
func pack(ctx context.Context, path string, rate int64) error {
	half := path + packedSuffix + halfSuffix
	sum, err := writePacked(ctx, path, half, rate)
	if err == nil {
		var again [sha256.Size]byte
		if again, err = sumPacked(ctx, half, rate); err == nil && again != sum {
			err = fmt.Errorf("%s does not give back what was packed", half)
		}
	}
	if err != nil {
		os.Remove(half)
		return err
	}
	if err := os.Rename(half, path+packedSuffix); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return err
	}
	return os.Remove(path)
}

// writePacked packs a file into another one, durably, and returns the SHA-256 of what it
// has read.
func writePacked(ctx context.Context, from, to string, rate int64) (sum [sha256.Size]byte, err error) {
	in, err := os.Open(from)
	if err != nil {
		return sum, err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return sum, err
	}
	defer out.Close()
	// What the lines have in common is most of them: a better level takes thrice the time
	// and saves a twentieth.
	w, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return sum, err
	}
	h := sha256.New()
	if err := paced(ctx, io.MultiWriter(w, h), in, rate); err != nil {
		return sum, err
	}
	if err := w.Close(); err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	return sum, fdatasync(out)
}

// sumPacked returns the SHA-256 of what a packed file gives back.
func sumPacked(ctx context.Context, path string, rate int64) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		return sum, err
	}
	h := sha256.New()
	if err := paced(ctx, h, r, rate); err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	return sum, nil
}

// paced copies at most rate bytes a second; 0 for any number.
func paced(ctx context.Context, out io.Writer, in io.Reader, rate int64) error {
	start := time.Now()
	for done := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(out, in, packChunk)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if done += n; rate > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(time.Until(start.Add(time.Duration(float64(done) / float64(rate) * float64(time.Second))))):
			}
		}
	}
}

package server

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

const (
	// rootFile is what officers, stations and new devices are given as their trust anchor.
	rootFile = "root.pem"
	// maxRootFile bounds what is read of it, in bytes.
	maxRootFile = 1 << 20
)

// anchorFile has DIR/root.pem follow the rotations of roots: whoever trusts what it holds is
// served in every state. A file that does not hold the root in question is somebody else's,
// and is left alone, as is one that was taken away. The caller holds the lock of following.
func (s *Server) anchorFile() {
	rotations := s.ra.KnownRotations()
	var shape strings.Builder
	for _, r := range rotations {
		if r.Kind == ledger.RotateRoot {
			fmt.Fprintln(&shape, r.ID, r.State, r.Issue, r.Kept)
		}
	}
	if shape.Len() == 0 || shape.String() == s.following.anchored {
		return
	}
	path := filepath.Join(s.config.Dir, rootFile)
	switch changed, err := followAnchors(path, rotations, s.rootCertificate); {
	case err != nil && err.Error() != s.following.unanchored:
		s.following.unanchored = err.Error() // once, and tried again every few seconds
		s.log.Error("the trust anchors in the state directory were not brought up to date", "file", path, "error", err)
		return
	case err != nil:
		return
	case changed:
		s.log.Info("the trust anchors in the state directory have changed with a rotation", "file", path)
	}
	s.following.anchored, s.following.unanchored = shape.String(), ""
}

// rootCertificate is the certificate of a root of ours; nil if there is none of that name.
func (s *Server) rootCertificate(name string) *x509.Certificate {
	a, err := s.ra.Authority(name)
	if err != nil || len(a.Chain()) > 0 {
		return nil
	}
	return a.Certificate()
}

// followAnchors brings a file of trust anchors up to date. A crash leaves the old file or the
// new one.
func followAnchors(path string, rotations []ledger.Rotation, root func(name string) *x509.Certificate) (changed bool, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !info.Mode().IsRegular() || info.Size() > maxRootFile:
		return false, fmt.Errorf("it is no file of at most %d bytes", maxRootFile)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	have, err := readAnchors(content)
	if err != nil {
		return false, err
	}
	want := anchorsAfter(have, rotations, root)
	if slices.EqualFunc(have, want, (*x509.Certificate).Equal) {
		return false, nil
	}
	var out bytes.Buffer
	for _, c := range want {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return true, writeFile(path, out.Bytes(), info.Mode().Perm())
}

// readAnchors reads certificates in PEM, and refuses what holds anything else: it would be
// lost.
func readAnchors(content []byte) (list []*x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			return list, nil
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it holds %q beside certificates", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parsing certificate %d: %w", len(list)+1, err)
		}
		list = append(list, c)
	}
}

// anchorsAfter is what becomes of a list of anchors by rotations of roots, in the order in
// which they began: it holds both roots as long as the server may show what only one of them
// vouches for. In an emergency that is until the switch, as nothing leads from one to the other.
func anchorsAfter(list []*x509.Certificate, rotations []ledger.Rotation, root func(name string) *x509.Certificate) []*x509.Certificate {
	list = slices.Clone(list)
	for _, r := range rotations {
		old, new := root(r.Old), root(r.New)
		if r.Kind != ledger.RotateRoot || old == nil || new == nil {
			continue
		}
		state := rotation.State(r.State)
		if contains(list, new) && !contains(list, old) && r.Emergency && r.Issue == ledger.IssueOld && (state.From(rotation.Switched) || state == rotation.RolledBack) {
			list = append(list, old) // it was taken back after the switch
		}
		if !contains(list, old) {
			continue
		}
		switch {
		case oldIsGone(r) && r.Issue == ledger.IssueNew:
			at := slices.IndexFunc(list, old.Equal)
			if !contains(list, new) {
				list = slices.Insert(list, at, new)
			}
			list = slices.DeleteFunc(list, old.Equal)
		case state.From(rotation.Distributing), state == rotation.RolledBack && r.Kept:
			if !contains(list, new) {
				list = append(list, new)
			}
		case state == rotation.RolledBack:
			list = slices.DeleteFunc(list, new.Equal)
		}
	}
	return list
}

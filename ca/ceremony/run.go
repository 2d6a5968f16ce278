package ceremony

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"strings"
)

// run is a ceremony that is carried out.
type run struct {
	*Plan
	world   *world
	folder  *folder
	journal *journal
	record  *Transcript
	out     io.Writer
	serial  func() *big.Int
}

// Run carries the plan out. It refuses when hash is not the hash of the file, which
// somebody present has typed (in any grouping), or fewer officers are present than the
// file demands, or the machine has a network that the file does not allow. Then nothing
// was made. After that, an error leaves the folder as it is: its journal says what was
// done, and no other Run goes on in it.
func (p *Plan) Run(ctx context.Context, hash string) (*Transcript, error) {
	return p.carryOut(ctx, hash, newSerial)
}

func (p *Plan) carryOut(ctx context.Context, hash string, serial func() *big.Int) (*Transcript, error) {
	present, err := p.admit(hash)
	if err != nil {
		return nil, err
	}
	begun := p.cfg.now()
	r := &run{Plan: p, out: p.cfg.Out, serial: serial, world: newWorld(p.File, p.given)}
	if r.out == nil {
		r.out = io.Discard
	}
	if err := r.world.authorities(r.opener); err != nil {
		return nil, err
	}
	text := statement(p.File, begun, present)
	signed, err := sign(text, present, p.cfg.Officers, p.given.officers)
	if err != nil {
		return nil, err
	}
	r.record = &Transcript{
		Version: 1, Name: p.File.Name, Purpose: p.File.Purpose, File: itemOf(fileYAML, p.File.raw),
		Begun: begun, Program: program(p.cfg.Version),
		Network:   Network{Allowed: p.File.Network == "allowed", Interfaces: append([]string{}, p.Networks...)},
		Threshold: p.File.Officers.Threshold, Officers: present, Inputs: p.Inputs,
		Records: []Item{itemOf(fileStatement, text), itemOf(fileStatementS, signed)},
	}
	if r.folder, err = newFolder(p.cfg.Folder); err != nil {
		return nil, err
	}
	err = r.begin(text, signed)
	if err == nil {
		err = r.steps(ctx)
	}
	if err == nil {
		err = r.end()
	}
	if err != nil {
		return nil, r.stopped(err)
	}
	return r.record, nil
}

// Ready says what Run would refuse at this moment apart from the hash, so that nobody
// types it in vain.
func (p *Plan) Ready() error {
	_, err := p.ready()
	return err
}

// admit checks what must hold before anything happens.
func (p *Plan) admit(hash string) ([]Present, error) {
	if is := p.File.Hash(); typed(hash) != is {
		return nil, errors.New("the hash that was typed is not the hash of the ceremony file")
	}
	return p.ready()
}

func (p *Plan) ready() ([]Present, error) {
	if p.cfg.Keys == nil || p.cfg.NotFound == nil {
		return nil, errors.New("a ceremony needs a key store, and its word for a key that is not there")
	}
	switch _, err := os.Lstat(p.cfg.Folder); {
	case err == nil:
		return nil, fmt.Errorf("%s exists: each ceremony leaves a folder of its own, so name another (--out)", p.cfg.Folder)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	present, err := p.given.present(p.cfg.Officers)
	if err != nil {
		return nil, err
	}
	if len(present) < p.File.Officers.Threshold {
		return nil, fmt.Errorf("%s present, and the ceremony needs %d", things(len(present), "officer"), p.File.Officers.Threshold)
	}
	if err := p.offline(); err != nil {
		return nil, err
	}
	return present, nil
}

// offline refuses a network that the file does not allow.
func (p *Plan) offline() error {
	up, err := p.cfg.networks()
	if err != nil {
		return err
	}
	if p.Networks = up; len(up) > 0 && p.File.Network != "allowed" {
		return fmt.Errorf("this machine has a network (%s), which the ceremony does not allow: take it down, or off the machine", list(up))
	}
	return nil
}

func (r *run) opener(uri string, want crypto.PublicKey) opener {
	return func(ctx context.Context) (crypto.Signer, error) { return r.cfg.Keys.Signer(ctx, uri, want) }
}

// begin writes what was there before the first step.
func (r *run) begin(text, signed []byte) error {
	if err := r.folder.write(fileYAML, r.File.raw); err != nil {
		return err
	}
	for _, name := range r.given.order {
		if err := r.folder.write(folderInputs+name, r.given.bytes[name]); err != nil {
			return err
		}
	}
	if err := r.folder.write(fileStatement, text); err != nil {
		return err
	}
	if err := r.folder.write(fileStatementS, signed); err != nil {
		return err
	}
	file, err := r.folder.create(fileJournal)
	if err != nil {
		return err
	}
	if err := syncDir(r.folder.dir); err != nil {
		file.Close()
		return err
	}
	r.journal = &journal{file: file, now: r.cfg.now, last: r.File.Hash(), next: 1}
	return r.journal.append(entry{Kind: entryBegin, SHA256: hexHash(text)})
}

// stopped notes, as well as it can, that the ceremony ended in an error.
func (r *run) stopped(err error) error {
	if r.journal != nil {
		// The error itself is what counts; that it could not be noted does not.
		_ = r.journal.append(entry{Kind: entryStopped, Words: err.Error()})
		r.journal.file.Close()
	}
	return fmt.Errorf("the ceremony stopped, and %s holds what was done until then: %w", r.folder.dir, err)
}

// end writes the transcript, has it signed, and verifies the whole folder as an
// auditor will.
func (r *run) end() error {
	if err := r.journal.append(entry{Kind: entryEnd}); err != nil {
		return err
	}
	r.record.Ended = r.cfg.now()
	r.record.Records = append(r.record.Records, itemOf(fileJournal, r.journal.all))
	transcript, err := encode(r.record)
	if err != nil {
		return err
	}
	// From here on the journal is closed: the transcript has its hash.
	err = r.journal.file.Close()
	r.journal = nil
	if err != nil {
		return fmt.Errorf("closing the journal: %w", err)
	}
	if err := r.folder.write(fileTranscript, transcript); err != nil {
		return err
	}
	signed, err := sign(closing(r.File, transcript), r.record.Officers, r.cfg.Officers, r.given.officers)
	if err != nil {
		return err
	}
	if err := r.folder.write(fileSignatures, signed); err != nil {
		return err
	}
	report, err := Verify(r.folder.dir, Trust{Hash: r.File.Hash()})
	if err != nil {
		return fmt.Errorf("verifying the folder: %w", err)
	}
	if len(report.Findings) > 0 {
		return fmt.Errorf("verifying the folder: %s", strings.Join(report.Findings, "; "))
	}
	fmt.Fprintf(r.out, "transcript, SHA-256:\n%s\n", Groups(hexHash(transcript)))
	return nil
}

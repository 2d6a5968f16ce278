package main

import (
	"bufio"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"mintmark/ca/ceremony"
	"mintmark/internal/access"
	"mintmark/internal/keystore"
	"mintmark/internal/server"
)

// ceremonyFlags say who is present, and where things are.
type ceremonyFlags struct {
	out, hash string
	officers  []string
	keys      ceremonyKeys
	dry       bool
}

func newCeremonyRun(a *app) *cobra.Command {
	var f ceremonyFlags
	c := a.command("run FILE --out FOLDER [flags]", "Hold a ceremony",
		`Run shows what will be done, has somebody present type the hash of the file from
the paper that was signed off, and carries the steps out. FOLDER must not exist;
it gets the file, every input and output, a journal, and a transcript that the
officers sign. It is refused on a machine with a network, unless the file allows
that.

Each --officer names a person and the key: a file, or a pkcs11: URI. PINs and
passphrases are typed, or come from files. Key files are encrypted with one
passphrase and are below --keys, which should be on no medium that leaves the
room with the folder.`,
		`  mintmark ceremony run root.yaml --dry-run
  mintmark ceremony run root.yaml --keys ./keys --out ./root-2026 \
    --officer alice=/media/alice/alice.key --officer bob=/media/bob/bob.key`,
		cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			if f.dry {
				plan, err := a.dryRun(c.Context(), args[0])
				if err != nil {
					return err
				}
				return a.printPlan(plan)
			}
			if f.out == "" {
				return usagef("--out is required: the folder that the ceremony leaves")
			}
			return f.run(c.Context(), a, args[0])
		})
	c.ValidArgsFunction = nil // files
	c.Flags().StringVar(&f.out, "out", "", "`folder` that the ceremony leaves; it must not exist")
	c.Flags().StringArrayVar(&f.officers, "officer", nil, "officer who is present, as `NAME=KEY`: KEY is a file or a pkcs11: URI; may be repeated")
	c.Flags().StringVar(&f.hash, "hash", "", "SHA-256 of the file in `hex`, for scripts (default: typed)")
	c.Flags().BoolVar(&f.dry, "dry-run", false, "only say what would be done, as check does")
	f.keys.bind(c)
	return c
}

func (f *ceremonyFlags) run(ctx context.Context, a *app, name string) error {
	file, inputs, err := readCeremony(name)
	if err != nil {
		return err
	}
	officers, done, err := f.present(ctx, a)
	defer done()
	if err != nil {
		return err
	}
	// The transcript is all of standard output with --json.
	out := a.out
	if a.json {
		out = a.err
	}
	store, err := f.keys.open(a, file, inputs)
	if err != nil {
		return err
	}
	defer store.Close()
	plan, err := ceremony.Prepare(ctx, file, ceremony.Config{
		Inputs: inputs, Folder: f.out, Keys: store, NotFound: keystore.ErrNotFound, Officers: officers, Out: out, Version: server.Version,
	})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprint(out, plan.Words()+"\n"); err != nil {
		return err
	}
	if err := plan.Ready(); err != nil {
		return err
	}
	hash := f.hash
	if hash == "" {
		if hash, err = a.askHash(file.Hash()); err != nil {
			return err
		}
	}
	if err := f.keys.unlock(ctx, a, store); err != nil {
		return err
	}
	transcript, err := plan.Run(ctx, hash)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(transcript)
	}
	return printFingerprints(a.out, f.out, transcript)
}

// present opens the keys of those who are there. What it returns closes them, also after an error.
func (f *ceremonyFlags) present(ctx context.Context, a *app) (map[string]crypto.Signer, func(), error) {
	officers := make(map[string]crypto.Signer, len(f.officers))
	var opened []func() error
	done := func() {
		for _, one := range opened {
			if err := one(); err != nil {
				a.say("closing the token of an officer: %v", err)
			}
		}
	}
	for _, text := range f.officers {
		name, key, ok := strings.Cut(text, "=")
		switch {
		case !ok || key == "":
			return nil, done, usagef("--officer: %q is not NAME=KEY", text)
		case officers[name] != nil:
			return nil, done, usagef("--officer: %q is there twice", name)
		}
		signer, closing, err := a.openSigner(ctx, key)
		if err != nil {
			return nil, done, fmt.Errorf("the key of officer %q: %w", name, err)
		}
		opened = append(opened, closing)
		officers[name] = signer
	}
	return officers, done, nil
}

// hashDigits is the length of a SHA-256 in hexadecimal, and hashTries how often it may be typed.
const (
	hashDigits = 64
	hashTries  = 3
)

// askHash has the hash of the file typed, on one line or several, in any grouping.
func (a *app) askHash(want string) (string, error) {
	if !a.interactive() {
		return "", usagef("the hash of the file is typed by somebody present, and nobody can be asked here: scripts give it with --hash")
	}
	lines := bufio.NewReader(a.in)
	for try := 1; ; try++ {
		fmt.Fprintf(a.err, "Type the SHA-256 of the file from the paper that was signed off, in any groups:\n")
		typed, err := readHash(lines)
		switch {
		case err != nil:
			return "", err
		case typed == want:
			return typed, nil
		case try == hashTries:
			return "", errors.New("what was typed is not the hash of the file: nothing was done. If the paper is right, this is another file")
		}
		a.say("That is not the hash of the file. Compare it group by group, and type it again.")
	}
}

// readHash reads lines until there are as many digits as a hash has, or an empty one.
func readHash(lines *bufio.Reader) (string, error) {
	var typed string
	for len(typed) < hashDigits {
		line, err := lines.ReadString('\n')
		part := strings.ToLower(strings.Join(strings.Fields(line), ""))
		if err != nil || part == "" {
			if errors.Is(err, io.EOF) && part == "" && typed == "" {
				return "", errors.New("nothing was typed: nothing was done")
			}
			return typed + part, nil
		}
		typed += part
	}
	return typed, nil
}

// printFingerprints ends a ceremony with what those present write down.
func printFingerprints(out io.Writer, folder string, t *ceremony.Transcript) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\nThe ceremony %s is done. Write down, and compare with what others present have written:\n", t.Name)
	for _, d := range t.Steps {
		if d.SHA256 == "" {
			continue
		}
		what := "certificate of " + printable(d.Subject)
		if d.Serial == "" {
			what = fmt.Sprintf("CRL %d of %s", d.Number, printable(d.Issuer))
		}
		fmt.Fprintf(&b, "\n%s: %s\n%s\n", d.Step, what, ceremony.Groups(d.SHA256))
	}
	fmt.Fprintf(&b, "\nnext: mintmark ceremony verify %s --hash HEX, with the hash from the paper, on another machine\n", folder)
	_, err := io.WriteString(out, b.String())
	return err
}

// readOfficerKeys reads the public keys that a verifier trusts.
func readOfficerKeys(list []string) (map[string]crypto.PublicKey, error) {
	if len(list) == 0 {
		return nil, nil
	}
	principals, err := readOfficers(list)
	if err != nil {
		return nil, err
	}
	keys := make(map[string]crypto.PublicKey, len(principals))
	for _, p := range principals {
		if keys[p.Name] != nil {
			return nil, usagef("--officer: %q is there twice", p.Name)
		}
		if keys[p.Name], err = access.ParseKey(p.Key); err != nil {
			return nil, fmt.Errorf("officer %q: %w", p.Name, err)
		}
	}
	return keys, nil
}

// readTrust reads what a verifier knows from elsewhere. A flag that is given and empty, as by a
// variable that is not set, must not pass for one that was left out.
func readTrust(c *cobra.Command, officers []string, hash string, threshold int) (ceremony.Trust, error) {
	if sum, err := hex.DecodeString(strings.Join(strings.Fields(hash), "")); c.Flags().Changed("hash") && (err != nil || len(sum) != sha256.Size) {
		return ceremony.Trust{}, usagef("--hash %q is not a SHA-256 in %d hexadecimal digits", hash, hashDigits)
	}
	if c.Flags().Changed("threshold") && threshold < 1 {
		return ceremony.Trust{}, usagef("--threshold %d is less than 1", threshold)
	}
	keys, err := readOfficerKeys(officers)
	return ceremony.Trust{Officers: keys, Hash: hash, Threshold: threshold}, err
}

func newCeremonyVerify(a *app) *cobra.Command {
	var (
		officers  []string
		hash      string
		threshold int
	)
	c := a.command("verify FOLDER [flags]", "Check the folder that a ceremony left",
		`Verify builds everything again from the ceremony file and its inputs and holds
it against the outputs, byte by byte: hashes, signatures of the officers,
journal, certificates, CRLs. It needs nothing but the folder, which can only
agree with itself. What you know from elsewhere makes more of it: with --hash,
from the paper, the file and the number of officers that it demands are those
that were reviewed; with --officer only the people count whose public keys are
given. Without the paper, --threshold says how many must have signed. Any
finding is exit code 1.`,
		"  mintmark ceremony verify ./root-2026 --hash HEX --officer alice=alice.pub --officer bob=bob.pub\n  mintmark ceremony verify ./root-2026 --threshold 2 --officer alice=alice.pub --officer bob=bob.pub", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			trust, err := readTrust(c, officers, hash, threshold)
			if err != nil {
				return err
			}
			if info, err := os.Stat(args[0]); err == nil && !info.IsDir() {
				return usagef("%s is a file: name the folder that the ceremony left", args[0])
			}
			report, err := ceremony.Verify(filepath.Clean(args[0]), trust)
			if err != nil {
				return err
			}
			if err := a.printReport(args[0], report); err != nil {
				return err
			}
			if n := len(report.Findings); n > 0 {
				return fmt.Errorf("%s: %s", args[0], things(int64(n), "finding"))
			}
			return nil
		})
	c.ValidArgsFunction = nil // folders
	c.Flags().StringArrayVar(&officers, "officer", nil, "`NAME=FILE` of an officer and the public key that you trust; may be repeated")
	c.Flags().StringVar(&hash, "hash", "", "SHA-256 in `hex` of the ceremony file that was signed off, from the paper")
	c.Flags().IntVar(&threshold, "threshold", 0, "`N` officers must have signed, where the file demands fewer")
	return c
}

func (a *app) printReport(folder string, report *ceremony.Report) error {
	if a.json {
		return a.printJSON(struct {
			Folder     string   `json:"folder"`
			Good       bool     `json:"good"`
			Incomplete bool     `json:"incomplete"`
			Findings   []string `json:"findings"`
			Checked    []string `json:"checked"`
		}{folder, len(report.Findings) == 0, report.Incomplete, list(report.Findings), list(report.Words)})
	}
	var b strings.Builder
	for _, words := range report.Words {
		fmt.Fprintf(&b, "checked  %s\n", printable(words))
	}
	for _, words := range report.Findings {
		fmt.Fprintf(&b, "finding  %s\n", printable(words))
	}
	if len(report.Findings) == 0 {
		b.WriteString("nothing is wrong\n")
	}
	_, err := io.WriteString(a.out, b.String())
	return err
}

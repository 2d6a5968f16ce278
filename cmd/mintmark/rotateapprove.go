package main

import (
	"bufio"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

// signableGates are those that officers sign for: ROLLED_BACK only of an emergency that has
// shut out the old CA.
var signableGates = []string{"APPROVED", "SWITCHED", "TRUST_REMOVED", "RETIRED", "ARCHIVED", "ROLLED_BACK"}

func newRotateApprove(a *app) *cobra.Command {
	var gate, key, file, statement, hash string
	c := a.command("approve ID (--key KEY | --signature FILE | --statement-out FILE) [flags]", "Sign for the next gate of a rotation",
		`Approve shows what the next gate has measured, asks for the hash of the plan,
shows what is signed, signs on this machine and sends the signature. The hash
comes from where you have read the plan, not from this screen; --hash gives it
where nobody can type. The key is your own and never leaves: a file, or a
pkcs11: URI.

A gate is signed for once it lacks nothing but signatures, in an emergency at
once. --gate ROLLED_BACK signs for letting in again what an emergency has shut
out.

--statement-out writes exactly the bytes to sign and ends, for a key that
another program holds; --signature brings what was signed there.`,
		`  mintmark rotate approve k3f7q2xw4m --key alice.key --dir ./factory
  mintmark rotate approve k3f7q2xw4m --statement-out gate.txt --dir ./factory
  mintmark rotate approve k3f7q2xw4m --gate SWITCHED --signature gate.sig \
    --hash d01e421262f8117880025905f3defa16439091873f8fb998de265b7f909fc26b`,
		cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			gate = strings.ToUpper(gate)
			if gate != "" && !slices.Contains(signableGates, gate) {
				return usagef("--gate %s: officers sign for %s", printable(gate), strings.Join(signableGates, ", "))
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				s, err := client.Rotation(c.Context(), args[0])
				if err != nil {
					return noRotation(args[0], err)
				}
				if s, err = signedFor(s, gate); err != nil {
					return err
				}
				if err := checkGate(s, args[0], gate); err != nil {
					return err
				}
				if statement != "" {
					return a.writeOut(statement, []byte(s.Gate.Statement))
				}
				if err := a.showGate(s); err != nil {
					return err
				}
				if err := a.agreeHash(s.Rotation.Hash, hash); err != nil {
					return err
				}
				a.say("what is signed:")
				for line := range strings.SplitSeq(strings.TrimRight(s.Gate.Statement, "\n"), "\n") {
					a.say("  %s", printable(line))
				}
				var signature []byte
				if file != "" {
					signature, err = readFile(file, maxPEM)
				} else {
					signature, err = a.signStatement(c, key, []byte(s.Gate.Statement))
				}
				if err != nil {
					return err
				}
				s, err = client.SignRotation(c.Context(), args[0], admin.RotationSign{Gate: s.Gate.State, Signature: signature})
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(s)
				}
				if shown, err := signedFor(s, gate); err == nil && shown.Gate != nil {
					g := shown.Gate
					a.say("signed for %s: %d of %d officers have (%s)", g.State, len(g.Signed), g.Officers, printable(strings.Join(g.Signed, ", ")))
				}
				a.sayNext(s)
				return nil
			})
		})
	f := c.Flags()
	f.StringVar(&gate, "gate", "", "do nothing unless the next gate is the way into this `state`")
	f.StringVar(&key, "key", "", "`file` with your private key, or a pkcs11: URI")
	f.StringVar(&file, "signature", "", "`file` with the signature over the statement, as openssl writes it")
	f.StringVar(&statement, "statement-out", "", "write the bytes to sign to this `file`, and nothing else")
	f.StringVar(&hash, "hash", "", "`hash` of the plan, in place of typing it")
	c.MarkFlagsMutuallyExclusive("key", "signature", "statement-out")
	c.MarkFlagsOneRequired("key", "signature", "statement-out")
	return c
}

// signedFor has the gate of a status be the one that is asked for.
func signedFor(s admin.RotationStatus, gate string) (admin.RotationStatus, error) {
	if gate != "ROLLED_BACK" {
		return s, nil
	}
	if s.Rollback == nil {
		return s, fmt.Errorf("nobody signs for taking back rotation %s, in %s: mintmark rotate rollback %s --reason TEXT does it, if it can be done", s.Rotation.ID, s.Rotation.State, s.Rotation.ID)
	}
	s.Gate, s.Blocked, s.Measured = s.Rollback, nil, nil
	return s, nil
}

// checkGate holds what the server wants signed against what it shows: the plan is that of
// the hash, the statement one of this rotation, gate and hash.
func checkGate(s admin.RotationStatus, id, gate string) error {
	if s.Rotation.ID != id {
		return fmt.Errorf("the server answered for rotation %q: nothing was signed", s.Rotation.ID)
	}
	switch {
	case s.Gate == nil:
		return fmt.Errorf("rotation %s is over (%s): there is nothing to sign", id, s.Rotation.State)
	case s.Gate.Officers == 0:
		return fmt.Errorf("rotation %s is in %s, and nobody signs for the next state, %s: mintmark rotate run %s goes on", id, s.Rotation.State, s.Gate.State, id)
	}
	if gate != "" && gate != s.Gate.State {
		return fmt.Errorf("rotation %s is in %s, and its next gate leads into %s, not %s: nothing was signed", id, s.Rotation.State, s.Gate.State, gate)
	}
	if _, err := s.ReadPlan(); err != nil {
		return fmt.Errorf("%w: nothing was signed", err)
	}
	r := s.Rotation
	want := fmt.Sprintf("mintmark rotation v1\nid: %s\nkind: %s\nold: %s\nnew: %s\ngate: %s\nplan-sha256: %s\n", r.ID, r.Kind, r.Old, r.New, s.Gate.State, r.Hash)
	if s.Gate.Statement != want {
		return fmt.Errorf("what the server wants signed is not the statement of rotation %s, its gate %s and the hash of its plan: nothing was signed", id, s.Gate.State)
	}
	return nil
}

// showGate shows what was measured. It does not show the hash of the plan, which who signs
// must have from elsewhere.
func (a *app) showGate(s admin.RotationStatus) error {
	plan, err := s.ReadPlan()
	if err != nil {
		return err
	}
	show := func(head, text string) { fmt.Fprint(a.err, hanging(head, text)) }
	show("", fmt.Sprintf("rotation %s, %s: %s is replaced by %s", s.Rotation.ID, rotationKind(s.Rotation), s.Rotation.Old, s.Rotation.New))
	show("", fmt.Sprintf("from %s, since %s, to %s", s.Rotation.State, date(s.Rotation.Since), s.Gate.State))
	if s.Gate.Asks != "" {
		show("asked for: ", s.Gate.Asks)
	}
	if words := fleetWords(s.Counts, s.Rotation.Kind); words != "" {
		show("devices:   ", words)
	}
	for _, line := range s.Measured {
		show("found:     ", line)
	}
	for _, line := range s.Blocked {
		show("lacking:   ", line)
	}
	planned := s.Gate.State == "APPROVED" // all of it is signed
	for _, step := range plan.Steps {
		if planned && step.Gate != "" {
			fmt.Fprint(a.err, paragraph("  ", step.State+"  if "+step.Gate))
		}
		for _, change := range step.Changes {
			switch {
			case planned:
				fmt.Fprint(a.err, paragraph("  ", step.State+"  "+changeWords(change)))
			case step.State == s.Gate.State:
				fmt.Fprint(a.err, paragraph("  ", changeWords(change)))
			}
		}
	}
	if planned {
		for _, warning := range plan.Warned {
			show("warning: ", warning)
		}
	}
	if s.Gate.State == "TRUST_REMOVED" && s.Rotation.Kind == "root" {
		show("note: ", "from then on --server-ca must hold the new root: mintmark ca export "+s.Rotation.New)
	}
	return nil
}

// agreeHash has the officer say which plan they have read.
func (a *app) agreeHash(want, given string) error {
	if given == "" {
		if !a.interactive() {
			return usagef("this asks for the hash of the plan, and nobody can be asked here: add --hash")
		}
		fmt.Fprint(a.err, "Type the hash of the plan that you have read: ")
		line, err := bufio.NewReader(io.LimitReader(a.in, 1<<10)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		given = line
	}
	given = strings.ToLower(strings.Join(strings.Fields(strings.ReplaceAll(given, ":", "")), ""))
	if subtle.ConstantTimeCompare([]byte(given), []byte(want)) != 1 {
		return errors.New("that is not the hash of this rotation's plan: nothing was signed. mintmark rotate status --plan shows the plan again, with its hash")
	}
	return nil
}

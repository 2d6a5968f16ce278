package awsreg

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/internal/reconcile"
)

// caState is what is compared of a registered CA.
type caState struct {
	status   types.CACertificateStatus
	auto     types.AutoRegistrationStatus
	mode     types.CertificateMode
	role     string // of JITP, empty for none
	template string // its body, empty for none
	named    string // the name of a provisioning template that somebody set instead
}

func (s caState) String() string {
	text := fmt.Sprintf("%s, mode %s, auto-registration %s", s.status, s.mode, s.auto)
	if s.role != "" {
		text += ", provisioning role " + s.role
	}
	if s.template != "" {
		text += ", template " + digest(s.template)
	}
	if s.named != "" {
		text += ", template named " + s.named
	}
	return text
}

// caResource is one registered CA certificate.
//
// For JITP the template's body is part of the registration. A provisioning
// template of type JITP that the registration names would be a second thing to
// own, with versions, an enabled flag and a name of 36 characters, that can drift
// on its own; with the body in the registration there is one thing to read,
// compare and approve.
func (r *Registrar) caResource(s *session, ca CA, issuer Issuer) resource {
	id := CertificateID(issuer.Certificate.Raw)
	want, templateErr := wanted(ca, issuer)
	conflicts := 0 // how often AWS had it and did not show it
	examine := func(ctx context.Context) (reconcile.Change, action, error) {
		change := reconcile.Change{Kind: kindCA, Subject: caSubject(ca, id), After: want.String()}
		refuse := func(format string, args ...any) (reconcile.Change, action, error) {
			change.Action, change.After = reconcile.Refuse, fmt.Sprintf(format, args...)
			return change, nil, nil
		}
		if templateErr != nil {
			return refuse("%v", templateErr)
		}
		have, err := describeCA(ctx, s.iot, id, issuer)
		if err != nil {
			return change, nil, err
		}
		if have == nil {
			if conflicts > 0 && conflicts < settling {
				conflicts++
				return change, nil, fmt.Errorf("registering CA %q: %w", ca.Issuer, errNotYet)
			}
			if conflicts > 0 {
				return change, nil, registeredElsewhere(ca, s.target)
			}
			if why := refusedBy(Preflight(issuer, s.target, ca, r.cfg.Now())); why != "" {
				return refuse("%s", why)
			}
			change.Action = reconcile.Create
			return change, func(ctx context.Context) error {
				exists, err := r.register(ctx, s, ca, issuer, want)
				if exists {
					conflicts++
				}
				return err
			}, nil
		}
		change.Before = have.String()
		if have.mode != want.mode {
			return refuse("it is registered in %s mode, and AWS has no way to change that: set mode to %s in the configuration, or delete the registration (set it INACTIVE first) and apply again", have.mode, have.mode)
		}
		update := want.drift(*have, id)
		if update == nil {
			change.Action, change.After = reconcile.None, change.Before
			return change, nil, nil
		}
		change.Action, change.Destructive = reconcile.Update, want.shuts(*have)
		return change, func(ctx context.Context) error {
			_, err := s.iot.UpdateCACertificate(ctx, update)
			return explain(fmt.Sprintf("updating CA %q", ca.Issuer), err)
		}, nil
	}
	return resource{examine: examine, registers: issuer.Certificate}
}

// wanted is the desired state of a CA.
func wanted(ca CA, issuer Issuer) (caState, error) {
	want := caState{
		status: types.CACertificateStatusActive,
		auto:   types.AutoRegistrationStatusEnable,
		mode:   types.CertificateMode(ca.Mode),
	}
	switch ca.Use {
	case UseNone, UseRegister:
		want.auto = types.AutoRegistrationStatusDisable
	case UseJITP:
		body, err := Template(issuer, *ca.JITP)
		if err != nil {
			return want, err
		}
		want.role, want.template = ca.JITP.RoleARN, body
	}
	switch ca.state() {
	case StateRegistered:
		want.status, want.auto = types.CACertificateStatusInactive, types.AutoRegistrationStatusDisable
	case StateQuiet:
		want.auto = types.AutoRegistrationStatusDisable
	}
	if want.auto == types.AutoRegistrationStatusDisable {
		want.role, want.template = "", "" // which would do nothing
	}
	return want, nil
}

// shuts reports whether what lets devices in would do so no more.
func (want caState) shuts(have caState) bool {
	return have.status == types.CACertificateStatusActive && want.status != have.status ||
		have.status == types.CACertificateStatusActive && have.auto == types.AutoRegistrationStatusEnable && want.auto != have.auto
}

// drift is the call that brings a registration closer to what is wanted, nil if
// it is there. Removing a registration configuration is a call of its own: AWS
// does not say what becomes of the other settings of the same call.
func (want caState) drift(have caState, id string) *iot.UpdateCACertificateInput {
	in := &iot.UpdateCACertificateInput{CertificateId: aws.String(id)}
	differs := false
	if have.status != want.status {
		in.NewStatus, differs = want.status, true
	}
	if have.auto != want.auto {
		in.NewAutoRegistrationStatus, differs = want.auto, true
	}
	switch {
	case want.auto == types.AutoRegistrationStatusDisable:
		// A template under a CA that registers nothing does nothing; it is left.
	case want.template == "" && (have.role != "" || have.template != "" || have.named != ""):
		return &iot.UpdateCACertificateInput{CertificateId: aws.String(id), RemoveAutoRegistration: true}
	case want.template != "" && (have.role != want.role || have.named != "" || !sameJSON(have.template, want.template)):
		in.RegistrationConfig, differs = want.config(), true
	}
	if !differs {
		return nil
	}
	return in
}

func (want caState) config() *types.RegistrationConfig {
	if want.template == "" {
		return nil
	}
	return &types.RegistrationConfig{RoleArn: aws.String(want.role), TemplateBody: aws.String(want.template)}
}

// describeCA returns nil if the account has no such CA. The id is computed, so
// the certificate that AWS returns for it is compared.
func describeCA(ctx context.Context, api caAPI, id string, issuer Issuer) (*caState, error) {
	doing := fmt.Sprintf("describing CA %q", issuer.Name)
	out, err := api.DescribeCACertificate(ctx, &iot.DescribeCACertificateInput{CertificateId: aws.String(id)})
	if code(err) == codeNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, explain(doing, err)
	}
	d := out.CertificateDescription
	if d == nil {
		return nil, fmt.Errorf("%s: AWS answered without a description", doing)
	}
	block, _ := pem.Decode([]byte(aws.ToString(d.CertificatePem)))
	if block == nil || !bytes.Equal(block.Bytes, issuer.Certificate.Raw) {
		return nil, fmt.Errorf("%s: AWS has another certificate under the id %s", doing, id)
	}
	state := &caState{status: d.Status, auto: d.AutoRegistrationStatus, mode: d.CertificateMode}
	if state.mode == "" { // registered before there were modes
		state.mode = types.CertificateModeDefault
	}
	if state.auto == "" {
		state.auto = types.AutoRegistrationStatusDisable
	}
	if c := out.RegistrationConfig; c != nil {
		state.role, state.template, state.named = aws.ToString(c.RoleArn), aws.ToString(c.TemplateBody), aws.ToString(c.TemplateName)
	}
	return state, nil
}

// register registers the CA with a fresh proof of possession where the mode wants
// one. It reports whether AWS says that the certificate is registered already.
//
// RegisterCACertificate wants a verification certificate in DEFAULT mode and
// refuses one in SNI_ONLY mode.
// https://docs.aws.amazon.com/iot/latest/apireference/API_RegisterCACertificate.html
func (r *Registrar) register(ctx context.Context, s *session, ca CA, issuer Issuer, want caState) (exists bool, err error) {
	doing := fmt.Sprintf("registering CA %q", ca.Issuer)
	in := &iot.RegisterCACertificateInput{
		CaCertificate:         aws.String(certificatePEM(issuer.Certificate.Raw)),
		CertificateMode:       want.mode,
		SetAsActive:           want.status == types.CACertificateStatusActive,
		AllowAutoRegistration: want.auto == types.AutoRegistrationStatusEnable,
		RegistrationConfig:    want.config(),
		// So that Status knows it for ours when it has left the configuration.
		Tags: []types.Tag{{Key: aws.String(ourTag), Value: aws.String(ca.Issuer)}},
	}
	var out *iot.RegisterCACertificateOutput
	// A registration code lives until somebody deletes it. If that happened
	// between our two calls, the next code is good.
	for attempt := range 2 {
		if want.mode == types.CertificateModeDefault {
			proof, err := r.proof(ctx, s, issuer)
			if err != nil {
				return false, err
			}
			in.VerificationCertificate = aws.String(proof)
		}
		out, err = s.iot.RegisterCACertificate(ctx, in)
		if code(err) != codeCodeInvalid || attempt > 0 || want.mode != types.CertificateModeDefault {
			break
		}
	}
	var already *types.ResourceAlreadyExistsException
	if errors.As(err, &already) {
		// If this account has it, it is from an earlier call whose answer was lost:
		// the next examination finds it, and repairs what differs.
		if got := aws.ToString(already.ResourceId); got != "" && got != CertificateID(issuer.Certificate.Raw) {
			return false, wrongID(issuer, got)
		}
		return true, nil
	}
	if err != nil {
		return false, explain(doing, err)
	}
	if got := aws.ToString(out.CertificateId); got != CertificateID(issuer.Certificate.Raw) {
		return false, wrongID(issuer, got)
	}
	return false, nil
}

// proof has a verification certificate issued for this account's code.
// https://docs.aws.amazon.com/iot/latest/developerguide/register-CA-cert.html
func (r *Registrar) proof(ctx context.Context, s *session, issuer Issuer) (string, error) {
	if r.cfg.Verification == nil {
		return "", fmt.Errorf("registering CA %q: no way to issue a verification certificate", issuer.Name)
	}
	out, err := s.iot.GetRegistrationCode(ctx, &iot.GetRegistrationCodeInput{})
	if err != nil {
		return "", explain("getting the registration code", err)
	}
	proof, err := r.cfg.Verification(ctx, issuer.Name, aws.ToString(out.RegistrationCode))
	if err != nil {
		return "", fmt.Errorf("issuing the verification certificate of CA %q: %w", issuer.Name, err)
	}
	return string(proof), nil
}

// wrongID: everything here and in the Lambda finds certificates by their hash.
func wrongID(issuer Issuer, got string) error {
	return fmt.Errorf("AWS calls CA %q %s, which is not the SHA-256 of the certificate, %s; mintmark cannot work with such ids", issuer.Name, got, CertificateID(issuer.Certificate.Raw))
}

// registeredElsewhere explains a certificate that exists but not for us.
func registeredElsewhere(ca CA, t Target) error {
	var b strings.Builder
	fmt.Fprintf(&b, "registering CA %q: AWS says that it is registered already, but account %s does not have it in region %s. ", ca.Issuer, t.AccountID, t.Region)
	if ca.Mode == ModeDefault {
		b.WriteString("Another account has registered it in DEFAULT mode, which one account of a region may: use SNI_ONLY for this target, or have it deleted there")
	} else {
		b.WriteString("If another account has it in DEFAULT mode, have it registered as SNI_ONLY there")
	}
	return errors.New(b.String())
}

func certificatePEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/fips140"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
	"sync"

	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3/lint"
	_ "github.com/zmap/zlint/v3/lints/rfc" // registers the lints of RFC sources
)

// Which lints run.
//
// Only the package of zlint that holds lints of RFC sources (RFC 3279, 5280,
// 5480, 5891, 6962, 8813) is linked. The Baseline Requirements of the web,
// S/MIME and code signing, and the programs of root stores, do not apply to
// certificates of a private CA and are left out whole.
//
// Of the RFC lints none is dropped. Most of them look at one extension, at one
// kind of certificate or at one kind of key, and say "not applicable" for all
// others, at a price. The table below repeats that condition of theirs, so
// that such a lint is run only where it can find something; what the table does
// not name is always run. That nothing is lost by it is tested: every lint that
// the table skips is run there on the same certificates and must find nothing.
//
// Beside them run a few of this package's own: see ownlint.go.
//
// A finding of any level above "pass" (notice, warning, error, fatal) refuses.

// condition says when a lint can find something.
type condition struct {
	extension asn1.ObjectIdentifier // only with this extension
	ee, ca    bool                  // only in an end-entity, only in a CA certificate
	rsa, ec   bool                  // only for such a subject key
}

// conditions has a row for each group of lints that share a condition. A name
// that ends in * stands for all lints that begin so.
var conditions = []struct {
	when  condition
	lints []string
}{
	{condition{extension: oidBasicConstraints}, []string{"e_basic_constr_invalid_der", "e_basic_constraints_not_critical", "e_path_len_constraint_*"}},
	{condition{extension: oidKeyUsage}, []string{"e_ext_key_usage_*", "w_ext_key_usage_*", "e_incorrect_ku_encoding", "e_superfluous_ku_encoding", "e_key_usage_incorrect_length"}},
	{condition{extension: oidExtKeyUsage}, []string{"w_eku_critical_improperly"}},
	{condition{extension: oidExtKeyUsage, ee: true}, []string{"e_key_usage_and_extended_key_usage_inconsistent"}},
	{condition{extension: oidAuthorityInfo}, []string{"w_ext_aia_access_location_missing", "e_ext_aia_marked_critical"}},
	{condition{extension: oidSubjectInfo}, []string{"e_subject_info_access_marked_critical"}},
	{condition{extension: oidCRLDistribution}, []string{"e_distribution_point_incomplete", "w_distribution_point_missing_ldap_or_uri", "w_ext_crl_distribution_marked_critical"}},
	{condition{extension: oidFreshestCRL}, []string{"e_ext_freshest_crl_marked_critical"}},
	{condition{extension: oidPolicies}, []string{"e_ext_cert_policy_*", "w_ext_cert_policy_*"}},
	{condition{extension: oidPolicyConstraints}, []string{"e_ext_policy_constraints_*"}},
	{condition{extension: oidPolicyMappings}, []string{"e_ext_policy_map_*", "w_ext_policy_map_*"}},
	{condition{extension: oidInhibitAnyPolicy}, []string{"e_inhibit_any_policy_not_critical"}},
	{condition{extension: oidNameConstraints}, []string{"e_name_constraint_*", "w_name_constraint_*", "e_ext_name_constraints_*"}},
	{condition{extension: oidIssuerAltName}, []string{"e_ext_ian_*", "w_ext_ian_critical"}},
	{condition{extension: oidSubjectAltName}, []string{"e_ext_san_*", "e_international_dns_name_*"}},
	{condition{extension: oidSubjectAltName, ee: true}, []string{"e_rfc_dnsname_*", "w_rfc_dnsname_*"}},
	{condition{extension: oidSubjectDirectory}, []string{"e_ext_subject_directory_attr_critical"}},
	{condition{extension: oidSCTList, ee: true}, []string{"e_empty_sct_list"}},
	{condition{extension: oidCTPoison}, []string{"e_precert_with_sct_list"}},
	{condition{ca: true}, []string{"e_ca_subject_field_empty", "e_ext_subject_key_identifier_missing_ca"}},
	{condition{ee: true}, []string{"w_ext_subject_key_identifier_missing_sub_cert"}},
	{condition{extension: oidKeyUsage, ec: true}, []string{"e_ecdsa_allowed_ku"}},
	{condition{extension: oidKeyUsage, ec: true, ee: true}, []string{"n_ecdsa_ee_invalid_ku"}},
	{condition{extension: oidKeyUsage, rsa: true, ca: true}, []string{"e_rsa_allowed_ku_ca", "e_rsa_allowed_ku_no_encipherment_ca"}},
	{condition{extension: oidKeyUsage, rsa: true, ee: true}, []string{"e_rsa_allowed_ku_ee"}},
	{condition{rsa: true}, []string{"e_spki_rsa_encryption_parameter_not_null"}},
}

// conditional is a lint and when to run it.
type conditional struct {
	*lint.CertificateLint
	when condition
}

// certificateLints returns the lints to run on certificates, with their
// conditions, in the order of their names.
var certificateLints = sync.OnceValue(func() []conditional {
	var all []conditional
	for _, l := range lint.GlobalRegistry().CertificateLints().Lints() {
		all = append(all, conditional{l, conditionOf(l.Name)})
	}
	slices.SortFunc(all, func(a, b conditional) int { return strings.Compare(a.Name, b.Name) })
	return all
})

func conditionOf(name string) condition {
	for _, row := range conditions {
		for _, pattern := range row.lints {
			prefix, many := strings.CutSuffix(pattern, "*")
			if name == pattern || many && strings.HasPrefix(name, prefix) {
				return row.when
			}
		}
	}
	return condition{}
}

// lintCertificate lints cert, which has a dummy signature, for the subject key
// pub. It returns a *LintError if anything is found.
func lintCertificate(cert *x509.Certificate, pub crypto.PublicKey, selfSigned bool) error {
	// The parser computes MD5 and SHA-1 fingerprints, of which nothing is made: let it, also
	// where such algorithms are enforced against (GODEBUG=fips140=only).
	var z *zx509.Certificate
	var err error
	fips140.WithoutEnforcement(func() { z, err = zx509.ParseCertificate(cert.Raw) })
	if err != nil {
		return &LintError{[]Finding{{Lint: "parse", Result: lint.Fatal.String(), Detail: err.Error()}}}
	}
	z.SelfSigned = selfSigned // zcrypto looks at the signature, which is not one yet
	var config lint.Configuration
	findings := lintOwn(cert)
	for _, l := range certificateLints() {
		if !l.when.holds(cert, pub) {
			continue
		}
		findings = appendFinding(findings, l.Name, l.Execute(z, config))
	}
	return lintResult(findings)
}

// holds reports whether a lint under condition c can find something in cert.
func (c condition) holds(cert *x509.Certificate, pub crypto.PublicKey) bool {
	if c.ca && !cert.IsCA || c.ee && cert.IsCA {
		return false
	}
	if c.rsa {
		if _, ok := pub.(*rsa.PublicKey); !ok {
			return false
		}
	}
	if c.ec {
		if _, ok := pub.(*ecdsa.PublicKey); !ok {
			return false
		}
	}
	return c.extension == nil || slices.ContainsFunc(cert.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(c.extension) })
}

func appendFinding(findings []Finding, name string, result *lint.LintResult) []Finding {
	if result == nil {
		return append(findings, Finding{Lint: name, Result: lint.Fatal.String(), Detail: "the lint gave no result"})
	}
	switch result.Status {
	case lint.NA, lint.NE, lint.Pass:
		return findings
	}
	return append(findings, Finding{Lint: name, Result: fmt.Sprint(result.Status), Detail: result.Details})
}

func lintResult(findings []Finding) error {
	if len(findings) == 0 {
		return nil
	}
	return &LintError{Findings: findings}
}

package attest

import "slices"

// Standing says how much Microsoft documents of a rule.
type Standing string

const (
	// Documented: the refusal and its text are known.
	Documented Standing = "documented"
	// Inferred: that DPS refuses is documented; the text is the one that is known for
	// refusals of the same kind, and not for this one.
	Inferred Standing = "inferred"
	// TextUnknown: that DPS refuses is documented, and what it says is not.
	TextUnknown Standing = "text unknown"
	// Undocumented: it is unknown whether DPS refuses.
	Undocumented Standing = "unknown"
)

// Rule is one reason for which DPS refuses, or of which it is unknown whether it does.
type Rule struct {
	Name     string
	Says     string // what is refused
	Standing Standing
	// Refuses is what Judge makes of it.
	Refuses bool
	// Code and Message are the vendor's. Message is empty where it is unknown; then Code
	// is the one of the known refusals of the same kind.
	Code    int
	Message string
	Source  string // URL
	// Unknown says what is not documented; empty for nothing.
	Unknown string
}

// The error codes of the device API that are known for what is decided here.
const (
	codeRegistrationID = 400004
	codeCertificate    = 401002
)

const (
	concepts     = "https://learn.microsoft.com/azure/iot-dps/concepts-x509-attestation"
	service      = "https://learn.microsoft.com/azure/iot-dps/concepts-service#registration-id"
	roll         = "https://learn.microsoft.com/azure/iot-dps/how-to-roll-certificates"
	tutorial     = "https://learn.microsoft.com/azure/iot-dps/tutorial-custom-hsm-enrollment-group-x509"
	rfc5280times = "https://www.rfc-editor.org/rfc/rfc5280#section-6.1.3"
	rfc5280      = "https://www.rfc-editor.org/rfc/rfc5280#section-6.1.4"
	rfc5246      = "https://www.rfc-editor.org/rfc/rfc5246#section-7.4.2"

	textUnknown = "the text and the exact code of the refusal"
	mayRefuse   = "whether DPS refuses it, and with which text"
)

// rules is in the order in which they are applied: of several that would refuse, the
// first one names the text. Which text DPS gives then is unknown.
var rules = []Rule{
	{"no-certificate", "a device that presents no certificate", TextUnknown, true, codeCertificate, "", concepts, textUnknown},
	{"registration-id", "a registration id that is empty, has more than 128 characters, others than letters, digits, - . _ :, or ends in . _ or :", TextUnknown, true, codeRegistrationID, "", service, textUnknown + "; 400004 \"Invalid RegistrationId\" is known for capitals only. In 2018 Microsoft's tests began to want 404 in the place of 400 of an id that they call invalid (azure-iot-sdk-csharp#592): a legal one of a TPM that is not enrolled"},
	{"registration-id-case", "capitals in a registration id, in API versions before 2018-11-01", Documented, true, codeRegistrationID, "Invalid RegistrationId", "https://github.com/Azure/azure-iot-sdk-c/issues/405", "which API version was the last one that refused; capitals are known to be taken in 2018-11-01"},
	{"common-name", "a registration id that is not the common name of the device's certificate", TextUnknown, true, codeCertificate, "", concepts + "#end-entity-leaf-certificate", textUnknown + "; in 2021 it was thought that DPS might have given the rule up (iot-identity-service#123), and the page still has it"},
	{"disabled", "a device whose first matching enrollment is disabled: its individual enrollment, else the group of its nearest issuer", Inferred, true, codeCertificate, "Unauthorized", concepts + "#dps-order-of-operations-with-certificates", "that this is the text: it is known for code 401002 without a cause, as \"Unauthorized access\" is, which came after \"assigning\" (azure-iot-sdk-c#2362)"},
	{"individual-certificate", "a certificate other than those of the device's individual enrollment", Documented, true, codeCertificate, "Invalid certificate.", "https://stackoverflow.com/questions/62440813", ""},
	{"signature", "a certificate that its issuer, the next one in the chain, has not signed", TextUnknown, true, codeCertificate, "", concepts + "#dps-device-chain-requirements", textUnknown},
	{"order", "a chain in which the verified certificate comes, but not each certificate after the one that it has signed", Undocumented, true, codeCertificate, "", rfc5246, "whether DPS sorts the chain, and with which text it refuses; TLS 1.2 demands this order"},
	{"verified", "a chain that ends before it comes to a verified certificate: one between is not sent", Documented, true, codeCertificate, "CA certificate not found.", "https://github.com/Azure/azure-iot-sdk-csharp/issues/1040", "that the text is the same if more is sent than the device's certificate: it is known for that one alone"},
	{"unverified", "a chain up to its root, with no verified certificate in it", Inferred, true, codeCertificate, "CA certificate not found.", "https://github.com/MicrosoftDocs/azure-docs/issues/60870", "that this is the text: it is known for chains that end too early; for this one \"Invalid certificate\" was reported in 2018"},
	{"group", "a chain in which the certificate of no enrollment group comes", Documented, true, codeCertificate, "Signing certificate info did not match chain elements.", "https://github.com/Azure/iotedge/issues/2739", ""},
	{"no-enrollment", "a device with no individual enrollment, where there is no enrollment group at all", TextUnknown, true, codeCertificate, "", concepts + "#dps-order-of-operations-with-certificates", textUnknown + "; for a TPM that is not enrolled Microsoft's tests want 404201 (azure-iot-sdk-csharp#592)"},
	{"anchor-verified", "a group whose certificate comes in the chain above the verified one, so that it neither is verified nor rolls up to it", TextUnknown, true, codeCertificate, "", concepts + "#dps-device-chain-requirements", textUnknown},
	{"expired", "a certificate that has expired", Undocumented, true, codeCertificate, "", rfc5280times, mayRefuse},
	{"not-yet-valid", "a certificate that is not valid yet", Undocumented, true, codeCertificate, "", rfc5280times, mayRefuse},
	{"issuer-ca", "an issuer that is no CA (basicConstraints)", Undocumented, true, codeCertificate, "", rfc5280, mayRefuse},
	{"issuer-usage", "an issuer whose key usage does not allow it to sign certificates", Undocumented, true, codeCertificate, "", rfc5280, mayRefuse},
	{"path-length", "more CAs below one than its path length allows, as with a CA below that of a gateway", Undocumented, true, codeCertificate, "", rfc5280, mayRefuse},
	{"client-auth", "a certificate with extended key usages and no clientAuth among them, or with none at all", Undocumented, false, 0, "", tutorial, mayRefuse + "; Microsoft's samples all have clientAuth"},
	{"device-ca", "a device's certificate that says CA:TRUE", Undocumented, false, 0, "", concepts + "#end-entity-leaf-certificate", mayRefuse + "; Microsoft says that it signs no others"},
	{"key", "a key other than RSA with 2048 to 4096 bits, P-256 and P-384", Undocumented, false, 0, "", tutorial, mayRefuse + "; these are the keys of Microsoft's samples"},
	{"algorithm", "a certificate that is signed with SHA-1", Undocumented, false, 0, "", tutorial, mayRefuse + "; Microsoft's samples are signed with SHA-256"},
	{"extra", "certificates after the verified one that do not continue the chain, or come twice", Undocumented, false, 0, "", rfc5246, mayRefuse},
	{"disabled-above", "a device whose group is enabled, under a certificate of another group that is disabled", Undocumented, false, 0, "", roll + "#blacklisting-certificates", "which one decides: one page says that the group of the nearest issuer does, another that a certificate in a disabled enrollment is always refused"},
	{"two-groups", "a certificate that stands in two enabled groups", Undocumented, false, 0, "", concepts + "#dps-order-of-operations-with-certificates", "which of the two groups decides, or whether DPS takes the second one at all"},
}

// Rules lists every rule, in the order in which they are applied.
func Rules() []Rule { return slices.Clone(rules) }

// RuleOf is the rule of that name; the zero Rule if there is none.
func RuleOf(name string) Rule {
	i := slices.IndexFunc(rules, func(r Rule) bool { return r.Name == name })
	if i < 0 {
		return Rule{}
	}
	return rules[i]
}

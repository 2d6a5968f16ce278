package awsreg

import (
	"fmt"
	"strings"
)

// Error codes that are acted upon. DynamoDB's and IoT's share some names.
const (
	codeNotFound      = "ResourceNotFoundException"
	codeExists        = "ResourceAlreadyExistsException"
	codeUnauthorized  = "UnauthorizedException"
	codeCodeInvalid   = "RegistrationCodeValidationException"
	codeVersionsLimit = "VersionsLimitExceededException"
	codeState         = "CertificateStateException"
	codeInUse         = "ResourceInUseException"
)

// advice says in mintmark's words what AWS's error codes mean here.
var advice = map[string]string{
	codeCodeInvalid: "the verification certificate does not carry this account's registration code as its common name; somebody may have deleted the code meanwhile",
	"CertificateValidationException": "AWS does not accept the CA certificate or the proof of possession: the CA must say CA:TRUE, be in its validity period, and have an RSA key of at least 2048 bits or a P-256 or P-384 key, " +
		"and the verification certificate must be signed by exactly this CA (`mintmark aws doctor` checks all of it); " +
		"it must also not be registered in DEFAULT mode by another account in this region: in that case use SNI_ONLY here",
	"LimitExceededException":      "a quota of the account is used up; for CA certificates it is ten with the same subject: delete one that is retired, or give the next CA another subject; for certificate providers it is one",
	codeVersionsLimit:             "a policy or template has at most five versions",
	"MalformedPolicyException":    "AWS does not accept the policy document",
	"SqlParseException":           "AWS does not accept the topic rule's statement; this is a defect of mintmark",
	"UnauthorizedException":       "the credentials lack a permission; `mintmark aws iam-policy` prints the ones that are needed",
	"AccessDeniedException":       "the credentials lack a permission; `mintmark aws iam-policy` prints the ones that are needed",
	"AccessDenied":                "the credentials lack a permission; `mintmark aws iam-policy` prints the ones that are needed",
	"UnrecognizedClientException": "AWS does not know the access key",
	"InvalidClientTokenId":        "AWS does not know the access key",
	"InvalidSignatureException":   "the secret access key is wrong, or the clock of this machine is",
	"SignatureDoesNotMatch":       "the secret access key is wrong, or the clock of this machine is",
	"ExpiredTokenException":       "the session credentials have expired; log in again",
	"ExpiredToken":                "the session credentials have expired; log in again",
	"InvalidRequestException":     "AWS refuses a value; `mintmark aws doctor` predicts what it can",
	"ResourceConflictException":   "something of the same name is there with other settings",
	codeNotFound:                  "something that is needed is not there; `mintmark aws apply` creates what is mintmark's",
	codeState:                     "the certificate's status does not allow this",
	"TransferConflictException":   "the certificate is being transferred to another account",
}

// explain says what was being done, what AWS answered, and what that means. It
// keeps the error chain.
func explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	if text, ok := advice[code(err)]; ok && !strings.Contains(err.Error(), text) {
		return fmt.Errorf("%s: %w (%s)", doing, err, text)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// What the service model says of these errors (aws-sdk-go-v2, service/iot/types).
// The text of the call itself is not documented.
const (
	overLimit    = "LimitExceededException: A limit has been exceeded."
	wrongRequest = "InvalidRequestException: The request is not valid."
)

package awssim

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"net/http"
	"strconv"
)

// apiError is an answer that AWS models: a code, a message, an HTTP status.
type apiError struct {
	code        string
	status      int
	message     string
	resourceID  string         // ResourceAlreadyExistsException only
	resourceARN string         // ResourceAlreadyExistsException only
	item        map[string]any // ConditionalCheckFailedException only, on request
	reasons     []cancellation // TransactionCanceledException only
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

// iotStatus is the HTTP status of each error code of the IoT service model.
var iotStatus = map[string]int{
	"CertificateConflictException":         http.StatusConflict,
	"CertificateStateException":            http.StatusNotAcceptable,
	"CertificateValidationException":       http.StatusBadRequest,
	"ConflictingResourceUpdateException":   http.StatusConflict,
	"DeleteConflictException":              http.StatusConflict,
	"InternalFailureException":             http.StatusInternalServerError,
	"InvalidRequestException":              http.StatusBadRequest,
	"LimitExceededException":               http.StatusGone,
	"MalformedPolicyException":             http.StatusBadRequest,
	"RegistrationCodeValidationException":  http.StatusBadRequest,
	"ResourceAlreadyExistsException":       http.StatusConflict,
	"ResourceNotFoundException":            http.StatusNotFound,
	"ResourceRegistrationFailureException": http.StatusBadRequest,
	"SqlParseException":                    http.StatusBadRequest,
	"UnauthorizedException":                http.StatusUnauthorized,
	"VersionConflictException":             http.StatusConflict,
	"VersionsLimitExceededException":       http.StatusConflict,
}

// iotError makes an error of the IoT service.
func iotError(code, format string, args ...any) *apiError {
	status, ok := iotStatus[code]
	if !ok {
		status = http.StatusBadRequest
	}
	return &apiError{code: code, status: status, message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) *apiError {
	return iotError("InvalidRequestException", format, args...)
}

func notFound(format string, args ...any) *apiError {
	return iotError("ResourceNotFoundException", format, args...)
}

func invalidCert(format string, args ...any) *apiError {
	return iotError("CertificateValidationException", format, args...)
}

func alreadyExists(id, arn, format string, args ...any) *apiError {
	e := iotError("ResourceAlreadyExistsException", format, args...)
	e.resourceID, e.resourceARN = id, arn
	return e
}

// noOperation is the answer to what this simulator does not have. It is not an
// AWS error, so that nobody takes it for one.
func noOperation(what string) *apiError {
	return &apiError{
		code:    "SimulatorNotImplemented",
		status:  http.StatusNotImplemented,
		message: "this AWS simulator does not have " + what,
	}
}

// writeRESTJSON writes e as the IoT service does: the code in a header, the
// members in the body.
func (e *apiError) writeRESTJSON(w http.ResponseWriter) {
	body := map[string]any{"message": e.message}
	if e.resourceID != "" || e.resourceARN != "" {
		body["resourceId"], body["resourceArn"] = e.resourceID, e.resourceARN
	}
	w.Header().Set("x-amzn-ErrorType", e.code)
	writeJSON(w, e.status, "application/json", body)
}

// writeJSON10 writes e as DynamoDB does: the code in the member __type.
func (e *apiError) writeJSON10(w http.ResponseWriter) {
	body := map[string]any{
		"__type":  "com.amazonaws.dynamodb.v20120810#" + e.code,
		"message": e.message,
	}
	if e.item != nil {
		body["Item"] = e.item
	}
	if e.reasons != nil {
		body["CancellationReasons"] = e.reasons
	}
	writeJSON(w, e.status, dynamoContent, body)
}

// writeQuery writes e as STS does.
func (e *apiError) writeQuery(w http.ResponseWriter) {
	type inner struct {
		Type    string
		Code    string
		Message string
	}
	code := e.code
	if code == "ExpiredTokenException" {
		code = "ExpiredToken" // as the query protocol calls it
	}
	body := struct {
		XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
		Error     inner
		RequestID string `xml:"RequestId"`
	}{Error: inner{"Sender", code, e.message}, RequestID: w.Header().Get("x-amzn-RequestId")}
	writeXML(w, e.status, body)
}

func writeJSON(w http.ResponseWriter, status int, contentType string, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		http.Error(w, "encoding the answer failed", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	if contentType == dynamoContent {
		// DynamoDB gives a checksum, which its SDKs compare.
		w.Header().Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(b)), 10))
	}
	w.WriteHeader(status)
	w.Write(b)
}

const dynamoContent = "application/x-amz-json-1.0"

func writeXML(w http.ResponseWriter, status int, body any) {
	b, err := xml.Marshal(body)
	if err != nil {
		http.Error(w, "encoding the answer failed", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	w.Write(b)
}

package dpssim

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// armVersions are the versions of Microsoft.Devices/provisioningServices: the folders
// of Azure/azure-rest-api-specs, deviceprovisioningservices resource-manager, and that
// of the newest client in npm. All have the same operations here.
var armVersions = []string{
	"2017-11-15", "2018-01-22", "2020-01-01", "2020-03-01", "2021-10-15", "2022-02-05", "2022-12-12",
	"2023-03-01-preview", "2025-02-01-preview", "2026-08-31",
}

// armCall is one request to the resource manager.
type armCall struct {
	op      string // as Calls has it
	name    string // of the certificate or of the key
	body    []byte
	ifMatch string
	run     func(*Sim, *armCall) answer
}

// serveARM answers the resource manager.
//
// Source: Azure/azure-rest-api-specs, deviceprovisioningservices resource-manager,
// 2022-02-05.
func (s *Sim) serveARM(w http.ResponseWriter, r *http.Request) {
	if err := s.authorizeARM(r); err != nil {
		s.refuseARMToken(err).write(w)
		return
	}
	c, refused := s.routeARM(r)
	if c == nil {
		refused.write(w)
		return
	}
	body, err := readBody(w, r)
	if err != nil {
		s.armRefusal(http.StatusRequestEntityTooLarge, "RequestContentTooLarge", err.Error()).write(w)
		return
	}
	c.body, c.ifMatch = body, r.Header.Get("If-Match")
	s.perform(w, c.op, s.armError, func() answer { return c.run(s, c) })
}

// authorizeARM takes Entra tokens only.
func (s *Sim) authorizeARM(r *http.Request) error {
	if strings.HasPrefix(r.Header.Get("Authorization"), sasScheme) {
		return errors.New("the resource manager takes no shared access signature")
	}
	return s.authorize(r, managementHost, managementAudience)
}

// refuseARMToken tells apart what the resource manager tells apart.
func (s *Sim) refuseARMToken(err error) answer {
	code, text := "InvalidAuthenticationToken", "The access token is invalid."
	switch {
	case errors.Is(err, errNoAuthorization):
		code, text = "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
	case errors.Is(err, errTokenExpired):
		code, text = "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than current UTC time."
	case errors.Is(err, errTokenAudience):
		code, text = "InvalidAuthenticationTokenAudience", "The access token has been obtained for wrong audience or resource. "+
			"It should exactly match with one of the allowed audiences 'https://management.core.windows.net/','https://management.azure.com/'."
	}
	return s.armRefusal(http.StatusUnauthorized, code, text).
		with("WWW-Authenticate", fmt.Sprintf(`Bearer authorization_uri="https://%s/%s", error="invalid_token", error_description=%q`,
			loginHost, s.cfg.TenantID, text))
}

// routeARM finds the operation of a request. Names in paths of the resource manager
// count without regard to case.
func (s *Sim) routeARM(r *http.Request) (*armCall, answer) {
	parts, err := splitPath(r.URL.EscapedPath())
	if err != nil {
		return nil, s.armRefusal(http.StatusBadRequest, "InvalidResourcePath", "The path of the resource cannot be read.")
	}
	fixed := []string{"subscriptions", "", "resourceGroups", "", "providers", "Microsoft.Devices", "provisioningServices", ""}
	if len(parts) < len(fixed) {
		return nil, s.armRefusal(http.StatusNotFound, "SimulatorNotImplemented", "The simulator has provisioning services and their certificates only.")
	}
	for i, want := range fixed {
		if want != "" && !strings.EqualFold(parts[i], want) {
			return nil, s.armRefusal(http.StatusNotFound, "SimulatorNotImplemented", "The simulator has provisioning services and their certificates only.")
		}
	}
	switch version := r.URL.Query().Get("api-version"); {
	case version == "":
		return nil, s.armRefusal(http.StatusBadRequest, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
	case !slices.Contains(armVersions, version):
		return nil, s.armRefusal(http.StatusBadRequest, "NoRegisteredProviderFound", fmt.Sprintf("No registered resource provider found for API version '%s' "+
			"for type 'provisioningServices'. The supported api-versions are '%s'.", clip(version, 32), strings.Join(armVersions, ", ")))
	case !strings.EqualFold(parts[1], s.cfg.SubscriptionID):
		return nil, s.armRefusal(http.StatusNotFound, "SubscriptionNotFound", fmt.Sprintf("The subscription '%s' could not be found.", clip(parts[1], 64)))
	case !strings.EqualFold(parts[3], s.cfg.ResourceGroup):
		return nil, s.armRefusal(http.StatusNotFound, "ResourceGroupNotFound", fmt.Sprintf("Resource group '%s' could not be found.", clip(parts[3], 90)))
	case !strings.EqualFold(parts[7], s.cfg.Service):
		return nil, s.armRefusal(http.StatusNotFound, "ResourceNotFound", fmt.Sprintf("The Resource 'Microsoft.Devices/provisioningServices/%s' under "+
			"resource group '%s' was not found.", clip(parts[7], 64), s.cfg.ResourceGroup))
	}
	if c := armOperation(r.Method, parts[len(fixed):]); c != nil {
		return c, answer{}
	}
	return nil, s.armRefusal(http.StatusMethodNotAllowed, "SimulatorNotImplemented", fmt.Sprintf("The simulator has no %s of this resource.", clip(r.Method, 16)))
}

// armOperation finds the operation of a method and of the path below the service.
func armOperation(method string, path []string) *armCall {
	for _, o := range []struct {
		method, path, op string
		run              func(*Sim, *armCall) answer
	}{
		{"GET", "", "service.get", (*Sim).getService},
		{"POST", "listkeys", "service.listKeys", (*Sim).listKeys},
		{"POST", "keys/*/listkeys", "service.listKeysForKeyName", (*Sim).listKey},
		{"GET", "certificates", "certificates.list", (*Sim).listCertificates},
		{"GET", "certificates/*", "certificates.get", (*Sim).getCertificate},
		{"PUT", "certificates/*", "certificates.createOrUpdate", (*Sim).putCertificate},
		{"DELETE", "certificates/*", "certificates.delete", (*Sim).deleteCertificate},
		{"POST", "certificates/*/generateVerificationCode", "certificates.generateVerificationCode", (*Sim).generateCode},
		{"POST", "certificates/*/verify", "certificates.verify", (*Sim).verifyCertificate},
	} {
		var want []string
		if o.path != "" {
			want = strings.Split(o.path, "/")
		}
		if o.method != method || len(want) != len(path) {
			continue
		}
		c := &armCall{op: o.op, run: o.run}
		matched := true
		for i, p := range want {
			if p == "*" {
				c.name = path[i]
			} else {
				matched = matched && strings.EqualFold(p, path[i])
			}
		}
		if matched {
			return c
		}
	}
	return nil
}

// splitPath splits an escaped path into its decoded segments, none of them empty.
func splitPath(escaped string) ([]string, error) {
	parts := strings.Split(strings.Trim(escaped, "/"), "/")
	for i, p := range parts {
		text, err := url.PathUnescape(p)
		if err != nil || text == "" {
			return nil, errors.New("the path cannot be read")
		}
		parts[i] = text
	}
	return parts, nil
}

// armRefusal is an error of the resource manager itself
// (https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors).
func (s *Sim) armRefusal(status int, code, message string) answer {
	return answer{status: status, body: map[string]any{"error": map[string]any{"code": code, "message": message}}}.
		with("x-ms-request-id", newGUID())
}

// armError is an error of the provider behind the resource manager, ErrorDetails of the
// specification. That the code is a number, and the sentence at the end, show
// https://github.com/crossplane-contrib/provider-upjet-azure/issues/299 and
// https://github.com/Azure/azure-cli/issues/13098.
func (s *Sim) armError(status, code int, message string) answer {
	if code == 0 {
		code = status * 1000
	}
	id := newGUID()
	return answer{status: status, body: map[string]any{
		"code": code, "httpStatusCode": strings.ReplaceAll(http.StatusText(status), " ", ""),
		"message": fmt.Sprintf("%s If you contact a support representative please include this correlation identifier: %s, timestamp: %s, errorcode: IH%d.",
			message, id, s.now().UTC().Format("2006-01-02 15:04:05Z"), code),
	}}.with("x-ms-request-id", id)
}

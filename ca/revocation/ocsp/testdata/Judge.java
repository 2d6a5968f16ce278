import java.io.FileInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.SecureRandom;
import java.security.cert.CertPathValidator;
import java.security.cert.CertPathValidatorException;
import java.security.cert.CertificateFactory;
import java.security.cert.PKIXParameters;
import java.security.cert.PKIXRevocationChecker;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import org.bouncycastle.asn1.DEROctetString;
import org.bouncycastle.asn1.nist.NISTObjectIdentifiers;
import org.bouncycastle.asn1.ocsp.OCSPObjectIdentifiers;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.asn1.x509.Extension;
import org.bouncycastle.asn1.x509.Extensions;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaX509CertificateHolder;
import org.bouncycastle.cert.ocsp.BasicOCSPResp;
import org.bouncycastle.cert.ocsp.CertificateID;
import org.bouncycastle.cert.ocsp.OCSPReqBuilder;
import org.bouncycastle.cert.ocsp.OCSPResp;
import org.bouncycastle.cert.ocsp.RevokedStatus;
import org.bouncycastle.cert.ocsp.SingleResp;
import org.bouncycastle.operator.bc.BcDigestCalculatorProvider;
import org.bouncycastle.operator.jcajce.JcaContentVerifierProviderBuilder;

/** Says by two implementations what a responder answers: Judge ROOT ISSUING URL CERTIFICATE... */
public class Judge {
    public static void main(String[] args) throws Exception {
        X509Certificate root = read(args[0]), issuing = read(args[1]);
        for (String file : Arrays.copyOfRange(args, 3, args.length)) {
            X509Certificate device = read(file);
            System.out.println("jdk\t" + file + "\t" + path(root, issuing, device));
            System.out.println("bouncycastle\t" + file + "\t" + ask(issuing, device, args[2]));
        }
    }

    static X509Certificate read(String file) throws Exception {
        try (FileInputStream in = new FileInputStream(file)) {
            return (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(in);
        }
    }

    /** Validates a path with OCSP and nothing else; the address is the certificate's own. */
    static String path(X509Certificate root, X509Certificate issuing, X509Certificate device) throws Exception {
        CertPathValidator validator = CertPathValidator.getInstance("PKIX");
        PKIXRevocationChecker checker = (PKIXRevocationChecker) validator.getRevocationChecker();
        checker.setOptions(EnumSet.of(PKIXRevocationChecker.Option.ONLY_END_ENTITY, PKIXRevocationChecker.Option.NO_FALLBACK));
        PKIXParameters parameters = new PKIXParameters(Set.of(new TrustAnchor(root, null)));
        parameters.addCertPathChecker(checker);
        try {
            validator.validate(CertificateFactory.getInstance("X.509").generateCertPath(List.of(device, issuing)), parameters);
            return "good";
        } catch (CertPathValidatorException e) {
            if (e.getReason() == CertPathValidatorException.BasicReason.REVOKED) {
                return "revoked";
            }
            return "unknown".equals(String.valueOf(e.getMessage()).toLowerCase()) || e.getReason() == CertPathValidatorException.BasicReason.UNDETERMINED_REVOCATION_STATUS ? "unknown" : e.toString();
        }
    }

    /** Asks by SHA-256 and with a nonce of 32 octets, and checks everything about the answer. */
    static String ask(X509Certificate issuing, X509Certificate device, String url) throws Exception {
        CertificateID id = new CertificateID(new BcDigestCalculatorProvider().get(new AlgorithmIdentifier(NISTObjectIdentifiers.id_sha256)),
            new JcaX509CertificateHolder(issuing), device.getSerialNumber());
        byte[] nonce = new byte[32];
        new SecureRandom().nextBytes(nonce);
        byte[] value = new DEROctetString(nonce).getEncoded();
        byte[] request = new OCSPReqBuilder().addRequest(id)
            .setRequestExtensions(new Extensions(new Extension(OCSPObjectIdentifiers.id_pkix_ocsp_nonce, false, value))).build().getEncoded();
        byte[] body = HttpClient.newHttpClient().send(HttpRequest.newBuilder(URI.create(url)).header("Content-Type", "application/ocsp-request")
            .POST(HttpRequest.BodyPublishers.ofByteArray(request)).build(), HttpResponse.BodyHandlers.ofByteArray()).body();
        OCSPResp response = new OCSPResp(body);
        if (response.getStatus() != OCSPResp.SUCCESSFUL) {
            return "status " + response.getStatus();
        }
        BasicOCSPResp basic = (BasicOCSPResp) response.getResponseObject();
        X509CertificateHolder signer = basic.getCerts()[0];
        if (!signer.isSignatureValid(new JcaContentVerifierProviderBuilder().build(issuing))) {
            return "the responder is not the issuer's";
        }
        if (!basic.isSignatureValid(new JcaContentVerifierProviderBuilder().build(signer))) {
            return "the signature is wrong";
        }
        Extension echoed = basic.getExtension(OCSPObjectIdentifiers.id_pkix_ocsp_nonce);
        if (echoed == null || !Arrays.equals(echoed.getExtnValue().getOctets(), value)) {
            return "the nonce is another";
        }
        SingleResp single = basic.getResponses()[0];
        if (basic.getResponses().length != 1 || !single.getCertID().equals(id)) {
            return "about another certificate";
        }
        if (single.getCertStatus() == null) {
            return "good";
        }
        return single.getCertStatus() instanceof RevokedStatus ? "revoked" : "unknown";
    }
}

import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.KeyStore;
import java.security.SecureRandom;
import java.security.Security;
import java.security.cert.CertificateFactory;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.util.Collections;
import javax.net.ssl.KeyManagerFactory;
import org.bouncycastle.asn1.x500.X500Name;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaX509CertificateConverter;
import org.bouncycastle.est.CACertsResponse;
import org.bouncycastle.est.CSRRequestResponse;
import org.bouncycastle.est.ESTAuth;
import org.bouncycastle.est.ESTService;
import org.bouncycastle.est.EnrollmentResponse;
import org.bouncycastle.est.jcajce.JcaHttpAuthBuilder;
import org.bouncycastle.est.jcajce.JcaJceUtils;
import org.bouncycastle.est.jcajce.JsseDefaultHostnameAuthorizer;
import org.bouncycastle.est.jcajce.JsseESTServiceBuilder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.ContentSigner;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.pkcs.PKCS10CertificationRequest;
import org.bouncycastle.pkcs.jcajce.JcaPKCS10CertificationRequestBuilder;

// Enroll runs BouncyCastle's EST client: HOST:PORT, LABEL ("-" for none), root
// certificate file, TLS version, user, password. It prints one line per step.
public class Enroll {
    public static void main(String[] args) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        String server = args[0], label = args[1];
        X509Certificate root;
        try (FileInputStream in = new FileInputStream(args[2])) {
            root = (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(in);
        }
        ESTService service = service(server, label, root, args[3], null);

        CACertsResponse anchors = service.getCACerts();
        System.out.println("cacerts " + anchors.getCertificateStore().getMatches(null).size());

        CSRRequestResponse attributes = service.getCSRAttributes();
        System.out.println("csrattrs " + attributes.hasAttributesResponse());

        X500Name name = new X500Name("CN=bouncy");
        KeyPair first = pair();
        ESTAuth auth = new JcaHttpAuthBuilder(args[4], args[5].toCharArray()).setNonceGenerator(new SecureRandom())
            .setProvider("SUN").build();
        X509Certificate enrolled = only(service.simpleEnroll(false, request(name, first), auth));
        System.out.println("enroll " + enrolled.getSubjectX500Principal() + " " + enrolled.getPublicKey().equals(first.getPublic()));

        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setKeyEntry("device", first.getPrivate(), new char[0], new X509Certificate[]{enrolled});
        ESTService holder = service(server, label, root, args[3], store);
        KeyPair second = pair();
        X509Certificate renewed = only(holder.simpleEnroll(true, request(name, second), null));
        System.out.println("reenroll " + renewed.getSubjectX500Principal() + " " + renewed.getPublicKey().equals(second.getPublic()));

        try {
            service.simpleEnroll(false, request(name, first), new JcaHttpAuthBuilder(args[4], "wrong".toCharArray())
                .setNonceGenerator(new SecureRandom()).setProvider("SUN").build());
            System.out.println("wrong password accepted");
        } catch (org.bouncycastle.est.ESTException e) {
            System.out.println("wrong password " + e.getStatusCode());
        }
    }

    static ESTService service(String server, String label, X509Certificate root, String version, KeyStore store) throws Exception {
        JsseESTServiceBuilder builder = new JsseESTServiceBuilder(server, JcaJceUtils.getCertPathTrustManager(
            Collections.singleton(new TrustAnchor(root, null)), null));
        if (!label.equals("-")) {
            builder.withLabel(label);
        }
        if (store != null) {
            KeyManagerFactory keys = KeyManagerFactory.getInstance("SunX509");
            keys.init(store, new char[0]);
            builder.withKeyManagers(keys.getKeyManagers());
        }
        builder.withHostNameAuthorizer(new JsseDefaultHostnameAuthorizer(Collections.<String>emptySet()));
        builder.addCipherSuites(javax.net.ssl.SSLContext.getDefault().getDefaultSSLParameters().getCipherSuites());
        return builder.withTLSVersion(version).build();
    }

    static KeyPair pair() throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("EC");
        generator.initialize(256);
        return generator.generateKeyPair();
    }

    static PKCS10CertificationRequest request(X500Name name, KeyPair keys) throws Exception {
        ContentSigner signer = new JcaContentSignerBuilder("SHA256withECDSA").build(keys.getPrivate());
        return new JcaPKCS10CertificationRequestBuilder(name, keys.getPublic()).build(signer);
    }

    static X509Certificate only(EnrollmentResponse answer) throws Exception {
        if (answer.getStore().getMatches(null).size() != 1) {
            throw new IllegalStateException("not one certificate");
        }
        return new JcaX509CertificateConverter().getCertificate((X509CertificateHolder) answer.getStore().getMatches(null).iterator().next());
    }
}

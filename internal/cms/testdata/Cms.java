import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.PrivateKey;
import java.security.Security;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.List;
import javax.crypto.spec.SecretKeySpec;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.DERNull;
import org.bouncycastle.asn1.nist.NISTObjectIdentifiers;
import org.bouncycastle.asn1.pkcs.PKCSObjectIdentifiers;
import org.bouncycastle.asn1.pkcs.RSAESOAEPparams;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.cert.jcajce.JcaCertStore;
import org.bouncycastle.cms.*;
import org.bouncycastle.cms.jcajce.*;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.operator.jcajce.JcaDigestCalculatorProviderBuilder;

/** Reads what package cms wrote into a directory, and writes the same kinds of messages there. */
public class Cms {
    static Path dir;

    static byte[] read(String name) throws Exception { return Files.readAllBytes(dir.resolve(name)); }

    static X509Certificate certificate(String name) throws Exception {
        return (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(new ByteArrayInputStream(read(name + ".cer")));
    }

    static PrivateKey key(String name, String algorithm) throws Exception {
        return KeyFactory.getInstance(algorithm, "BC").generatePrivate(new PKCS8EncodedKeySpec(read(name + ".key")));
    }

    static void decrypt(String name, Recipient recipient) throws Exception {
        for (RecipientInformation info : new CMSEnvelopedData(read(name)).getRecipientInfos().getRecipients()) {
            System.out.println(name + " " + new String(info.getContent(recipient), StandardCharsets.UTF_8));
        }
    }

    static void encrypt(String name, RecipientInfoGenerator recipient, ASN1ObjectIdentifier cipher, String encoding) throws Exception {
        CMSEnvelopedDataGenerator generator = new CMSEnvelopedDataGenerator();
        generator.addRecipientInfoGenerator(recipient);
        CMSEnvelopedData message = generator.generate(new CMSProcessableByteArray(("from BouncyCastle: " + name).getBytes(StandardCharsets.UTF_8)),
                new JceCMSContentEncryptorBuilder(cipher).setProvider("BC").build());
        Files.write(dir.resolve(name), encoding.isEmpty() ? message.getEncoded() : message.toASN1Structure().getEncoded(encoding));
    }

    static void signed(String name, String algorithm, String encoding, X509Certificate certificate, PrivateKey key) throws Exception {
        for (SignerInformation signer : new CMSSignedData(read("ours-signed-" + name)).getSignerInfos().getSigners()) {
            boolean good = signer.verify(new JcaSimpleSignerInfoVerifierBuilder().setProvider("BC").build(certificate));
            System.out.println("ours-signed-" + name + " " + good + " " + signer.getContentType());
        }
        CMSSignedDataGenerator generator = new CMSSignedDataGenerator();
        generator.addSignerInfoGenerator(new JcaSignerInfoGeneratorBuilder(new JcaDigestCalculatorProviderBuilder().build())
                .build(new JcaContentSignerBuilder(algorithm).setProvider("BC").build(key), certificate));
        generator.addCertificates(new JcaCertStore(List.of(certificate)));
        CMSSignedData message = generator.generate(new CMSProcessableByteArray(("from BouncyCastle: " + name).getBytes(StandardCharsets.UTF_8)), true);
        Files.write(dir.resolve("theirs-signed-" + name), encoding.isEmpty() ? message.getEncoded() : message.toASN1Structure().getEncoded(encoding));
    }

    static RecipientInfoGenerator agreement(X509Certificate certificate, String curve, ASN1ObjectIdentifier kdf, ASN1ObjectIdentifier wrap, boolean ukm) throws Exception {
        KeyPairGenerator pairs = KeyPairGenerator.getInstance("EC", "BC");
        pairs.initialize(new java.security.spec.ECGenParameterSpec(curve));
        KeyPair pair = pairs.generateKeyPair();
        JceKeyAgreeRecipientInfoGenerator generator = new JceKeyAgreeRecipientInfoGenerator(kdf, pair.getPrivate(), pair.getPublic(), wrap);
        if (ukm) {
            generator.setUserKeyingMaterial("material".getBytes(StandardCharsets.UTF_8));
        }
        return generator.setProvider("BC").addRecipient(certificate);
    }

    public static void main(String[] args) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        dir = Paths.get(args[0]);
        X509Certificate rsa = certificate("RSA-2048"), p256 = certificate("P-256"), p384 = certificate("P-384");
        PrivateKey rsaKey = key("RSA-2048", "RSA"), p256Key = key("P-256", "EC"), p384Key = key("P-384", "EC");
        AlgorithmIdentifier sha256 = new AlgorithmIdentifier(NISTObjectIdentifiers.id_sha256, DERNull.INSTANCE);
        AlgorithmIdentifier oaep = new AlgorithmIdentifier(PKCSObjectIdentifiers.id_RSAES_OAEP,
                new RSAESOAEPparams(sha256, new AlgorithmIdentifier(PKCSObjectIdentifiers.id_mgf1, sha256), RSAESOAEPparams.DEFAULT_P_SOURCE_ALGORITHM));
        for (String rid : new String[] {"", "-ski"}) {
            decrypt("ours-oaep" + rid, new JceKeyTransEnvelopedRecipient(rsaKey).setProvider("BC"));
            decrypt("ours-v15" + rid, new JceKeyTransEnvelopedRecipient(rsaKey).setProvider("BC"));
            decrypt("ours-P-256" + rid, new JceKeyAgreeEnvelopedRecipient(p256Key).setProvider("BC"));
            decrypt("ours-P-384" + rid, new JceKeyAgreeEnvelopedRecipient(p384Key).setProvider("BC"));
        }
        for (int length : new int[] {16, 24, 32}) {
            SecretKeySpec kek = new SecretKeySpec(read("kek-" + length), "AES");
            decrypt("ours-kek-" + length, new JceKEKEnvelopedRecipient(kek).setProvider("BC"));
            encrypt("theirs-kek-" + length, new JceKEKRecipientInfoGenerator("line-1".getBytes(StandardCharsets.UTF_8), kek).setProvider("BC"), CMSAlgorithm.AES256_CBC, "");
        }
        encrypt("theirs-oaep", new JceKeyTransRecipientInfoGenerator(rsa, oaep).setProvider("BC"), CMSAlgorithm.AES128_CBC, "DER");
        encrypt("theirs-v15", new JceKeyTransRecipientInfoGenerator(rsa).setProvider("BC"), CMSAlgorithm.AES192_CBC, "");
        encrypt("theirs-v15-ski", new JceKeyTransRecipientInfoGenerator("key".getBytes(StandardCharsets.UTF_8), rsa.getPublicKey()).setProvider("BC"), CMSAlgorithm.AES256_CBC, "");
        encrypt("theirs-P-256", agreement(p256, "P-256", CMSAlgorithm.ECDH_SHA256KDF, CMSAlgorithm.AES128_WRAP, false), CMSAlgorithm.AES128_CBC, "DER");
        encrypt("theirs-P-384", agreement(p384, "P-384", CMSAlgorithm.ECDH_SHA384KDF, CMSAlgorithm.AES256_WRAP, true), CMSAlgorithm.AES256_CBC, "");
        signed("RSA-2048", "SHA256withRSA", "", rsa, rsaKey);
        signed("P-256", "SHA256withECDSA", "DER", p256, p256Key);
        signed("P-384", "SHA384withECDSA", "", p384, p384Key);
    }
}

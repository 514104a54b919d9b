// An OpenID provider on loopback, at a port that the system chooses. Writes its
// issuer as one line of JSON, and ends when its standard input does, so that it
// never outlives the test that started it.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import Provider from 'oidc-provider';

function key(alg, type, options) {
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: randomUUID() };
}

const keys = [
  key('RS256', 'rsa', { modulusLength: 2048 }),
  key('PS256', 'rsa', { modulusLength: 2048 }),
  key('ES256', 'ec', { namedCurve: 'P-256' }),
  key('ES384', 'ec', { namedCurve: 'P-384' }),
  key('EdDSA', 'ed25519', {}),
];

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    jwks: { keys },
    cookies: { keys: [randomUUID()] },
    clients: [
      {
        client_id: 'spark',
        client_secret: 'a-secret-of-this-test',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
      },
    ],
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'] },
    extraTokenClaims: () => ({ groups: ['engines', 'eng'] }),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      // The last part of the resource chooses the algorithm of its tokens, the
      // one before their audience.
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (ctx, resource) => {
          const [, , audience, alg] = resource.split(':');
          return {
            scope: '',
            audience,
            accessTokenTTL: 600,
            accessTokenFormat: alg === 'opaque' ? 'opaque' : 'jwt',
            jwt: alg === 'opaque' ? undefined : { sign: { alg } },
          };
        },
      },
    },
  });
  server.on('request', provider.callback());
  process.stdout.write(`${JSON.stringify({ issuer })}\n`);
});

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));

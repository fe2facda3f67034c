"""What is asked through forwards: `byte_server.py HOST PORT`. A line with a number is answered by so many bytes."""

import asyncio
import sys

CHUNK = bytes(65_536)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer lines until the client leaves."""
    try:
        while line := await reader.readline():
            left = int(line)
            while left > 0:
                writer.write(CHUNK[:left])
                await writer.drain()
                left -= len(CHUNK)
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main(host: str, port: int) -> None:
    server = await asyncio.start_server(serve, host, port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
